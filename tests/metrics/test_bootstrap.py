from __future__ import annotations

import numpy as np
import pytest

from avsctl.metrics import SemanticScores
from avsctl.metrics.bootstrap import ClipSums, paired_bootstrap

CLASSES = 5
ROUNDING = 1e-12  # sums in another order


def made_clips(seed: int, quality: float) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Seven clips of different lengths with the same targets whatever the seed, and predictions of some quality."""
    targets, noise = np.random.default_rng(0), np.random.default_rng(seed)
    clips = []
    for number in range(7):
        shape = (10 if number % 3 == 2 else 5, 6, 7)
        target = np.where(targets.random(shape) < 0.4, targets.integers(1, CLASSES - 1, shape), 0)
        pred = np.where(noise.random(shape) < quality, target, noise.integers(0, CLASSES, shape))
        clips.append((f"clip{number}", pred, target))
    return clips


def scored(clips: list[tuple[str, np.ndarray, np.ndarray]]) -> SemanticScores:
    scores = SemanticScores(CLASSES)
    for position, (uid, pred, target) in enumerate(clips):
        scores.add(f"{position}-{uid}", "v2", pred, target, position=position)  # a clip may be drawn twice
    return scores


def sums_of(scores: SemanticScores, clips: int) -> ClipSums:
    sums, counts = np.zeros((clips, CLASSES)), np.zeros((clips, CLASSES))
    place = -1
    for row in scores.per_clip():
        if row.index is None:
            place += 1
        else:
            sums[place, row.index], counts[place, row.index] = row.frames * row.iou, row.frames
    return ClipSums(tuple(("v2", str(number)) for number in range(clips)), sums, counts)


def test_the_mean_over_any_choice_of_clips_is_the_score_of_these_clips():
    clips = made_clips(1, 0.8)
    sums, rng = sums_of(scored(clips), len(clips)), np.random.default_rng(5)
    for _ in range(20):
        drawn = rng.integers(0, len(clips), len(clips))
        weights = np.bincount(drawn, minlength=len(clips)).astype(float)
        expected = scored([clips[number] for number in drawn]).result()["all"]["miou"]
        assert sums.mean(weights[None])[0] == pytest.approx(expected, abs=ROUNDING)


def test_a_class_of_one_frame_counts_as_its_score_and_one_of_none_as_0():
    scores, counts = np.array([[0.5, 0.8, 0], [0, 0.4, 0]]), np.array([[1, 2, 0], [0, 1, 0]])
    sums = ClipSums((("v2", "a"), ("v2", "b")), scores, counts)
    assert sums.mean(np.ones((1, 2)))[0] == pytest.approx((0.5 + 0.4 + 0) / 3, abs=ROUNDING)
    assert sums.mean(np.array([[0.0, 2.0]]))[0] == pytest.approx((0 + 0.4 + 0) / 3, abs=ROUNDING)


def test_the_interval_is_that_of_scoring_every_resample_anew():
    seeds = [(made_clips(seed, 0.8), made_clips(seed + 10, 0.6)) for seed in (1, 2)]
    count = len(seeds[0][0])
    pairs = [tuple(sums_of(scored(clips), count) for clips in pair) for pair in seeds]
    found = paired_bootstrap(pairs, resamples=40, confidence=0.9, seed=3)

    weights = np.random.default_rng(3).multinomial(count, np.full(count, 1 / count), size=40)
    differences = []
    for row in weights:
        drawn = np.repeat(np.arange(count), row)
        each = [[scored([clips[n] for n in drawn]).result()["all"]["miou"] for clips in pair] for pair in seeds]
        differences.append(np.mean([first - second for first, second in each]))
    low, high = sorted(differences)[0:2], sorted(differences)[-2:]
    assert low[0] <= found.low <= sorted(differences)[3] and sorted(differences)[-4] <= found.high <= high[1]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(differences, [0.05, 0.95])), abs=ROUNDING)
    whole = [[scored(clips).result()["all"]["miou"] for clips in pair] for pair in seeds]
    assert found.difference == pytest.approx(np.mean([a - b for a, b in whole]), abs=ROUNDING)


def test_pairing_cancels_what_both_share():
    rng = np.random.default_rng(0)
    clips = tuple(("s4", str(n)) for n in range(50))
    hard, ones = rng.random((50, 1)), np.ones((50, 1))
    found = paired_bootstrap([(ClipSums(clips, hard + 0.1, ones), ClipSums(clips, hard, ones))])
    assert (found.difference, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1), abs=ROUNDING)


def test_coverage_is_near_what_the_confidence_says():
    # 200 sets of 60 clips whose true difference is 0: an interval of 90 % should miss it in about 20 of them.
    rng, clips, ones = np.random.default_rng(1), tuple(("s4", str(n)) for n in range(60)), np.ones((60, 1))
    missed = 0
    for _ in range(200):
        pair = tuple(ClipSums(clips, rng.normal(0.5, 0.2, (60, 1)), ones) for _ in range(2))
        found = paired_bootstrap([pair], resamples=300, confidence=0.9)
        missed += not found.low <= 0 <= found.high
    assert 8 <= missed <= 36  # binomial(200, 0.1): both ends are beyond 3 standard deviations


@pytest.mark.parametrize("pairs", [[], [(ClipSums((), np.zeros((0, 1)), np.zeros((0, 1))),) * 2]])
def test_nothing_to_compare_is_refused(pairs):
    with pytest.raises(ValueError, match="nothing to compare"):
        paired_bootstrap(pairs)


def test_other_clips_are_refused():
    first, second = (ClipSums((("s4", uid),), np.ones((1, 1)), np.ones((1, 1))) for uid in "ab")
    with pytest.raises(ValueError, match="different clips"):
        paired_bootstrap([(first, second)])
