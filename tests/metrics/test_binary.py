from __future__ import annotations

import numpy as np
import pytest

from avsctl.metrics.binary import (
    THRESHOLDS,
    calls_of,
    clip_f_curve,
    f_curve,
    frame_iou,
    frame_overlap,
    marked_share,
    max_f,
    mean_over_calls,
    sigmoid,
    stepping_stones_score,
)

# The published code sums in float32; ours in float64. Their rounding is a few parts in 10 million.
FLOAT32 = 5e-7

CASES = [
    "normal",
    "all_gt_empty",
    "some_gt_empty",
    "gt_all_ones",
    "pred_all_negative",
    "pred_all_negative_gt_empty",
    "perfect_saturated",
    "pred_zero_logits",
    "single_pixel_gt",
    "gt_value_1_over_255",
    "batch_of_two_clips",
    "clip_a",
    "clip_b",
]


def one_call(scores: np.ndarray, target: np.ndarray) -> float:
    curve, frames = clip_f_curve(scores, target)
    return max_f(curve[None], np.array([frames]), 1)


def slow_curve(scores: np.ndarray, target: np.ndarray) -> list[float]:
    """F at each threshold, by comparing the whole frame with it."""
    curve = []
    for threshold in THRESHOLDS:
        marked = scores >= threshold
        hits = float((target * marked).sum(dtype=np.float64))
        precision = hits / (marked.sum() + 1e-20)
        recall = hits / (target.sum(dtype=np.float64) + 1e-20)
        divisor = 0.3 * precision + recall
        curve.append((1 + 0.3) * precision * recall / divisor if divisor else 0.0)
    return curve


# --- parity with the published code -----------------------------------------------------------------------


def test_thresholds_are_the_published_ones_to_the_last_bit(golden):
    tensors, _ = golden("baselines_binary")
    np.testing.assert_array_equal(THRESHOLDS, tensors["curve.thresholds"])
    assert THRESHOLDS[-1] == 1.0


@pytest.mark.parametrize("case", CASES)
def test_iou_and_f_equal_avsbench_and_avsegformer(golden, case):
    tensors, record = golden("baselines_binary")
    expected = record["expected"][case]
    scores, target = sigmoid(tensors[f"{case}.pred"]), tensors[f"{case}.gt"]
    assert frame_iou(scores > 0.5, target).mean() == pytest.approx(expected["mask_iou"], abs=FLOAT32)
    assert one_call(scores, target) == pytest.approx(expected["Eval_Fmeasure"], abs=FLOAT32)


@pytest.mark.parametrize("case", CASES)
def test_iou_and_f_equal_stepping_stones(golden, case):
    tensors, record = golden("baselines_binary")
    expected = record["expected"][case]
    background, sounding = tensors[f"{case}.ss_logits"].swapaxes(0, 1)
    target = tensors[f"{case}.gt"]
    assert frame_iou(sounding > background, target).mean() == pytest.approx(expected["ss_mask_iou"], abs=FLOAT32)
    score = stepping_stones_score(background, sounding)
    assert one_call(score, target) == pytest.approx(expected["ss_Eval_Fmeasure"], abs=FLOAT32)


def test_every_published_case_is_compared(golden):
    _, record = golden("baselines_binary")
    assert set(record["expected"]) == {*CASES, "batching_note"}


def test_f_of_one_call_of_two_clips_and_of_two_calls_equal_the_published_ones(golden):
    tensors, record = golden("baselines_binary")
    expected = record["expected"]["batching_note"]
    clips = [(sigmoid(tensors[f"{clip}.pred"]), tensors[f"{clip}.gt"]) for clip in ("clip_a", "clip_b")]
    summed = [clip_f_curve(*clip) for clip in clips]
    curves, frames = np.stack([c for c, _ in summed]), np.array([n for _, n in summed])
    assert max_f(curves, frames, 2) == pytest.approx(expected["F_one_batch"], abs=FLOAT32)
    assert max_f(curves, frames, 1) == pytest.approx(expected["F_mean_of_two_batches"], abs=FLOAT32)
    ious = [frame_iou(scores > 0.5, target) for scores, target in clips]
    assert mean_over_calls(ious, 2) == pytest.approx(expected["iou_one_batch"], abs=FLOAT32)
    assert mean_over_calls(ious, 1) == pytest.approx(expected["iou_mean_of_two"], abs=FLOAT32)


# --- the fast form against the obvious one ----------------------------------------------------------------


@pytest.mark.parametrize("fractional", [False, True])
def test_the_histogram_curve_equals_the_loop_over_thresholds_exactly(fractional):
    rng = np.random.default_rng(3)
    for _ in range(5):
        scores = rng.random((17, 23), dtype=np.float32)
        scores[:4] = rng.choice(THRESHOLDS, (4, 23))  # exactly on a threshold
        scores[4:6] = np.nextafter(rng.choice(THRESHOLDS[1:], (2, 23)), np.float32(0))  # one step below
        target = rng.random((17, 23)) < 0.3
        if fractional:  # multiples of 1/64, so that sums are exact in any order
            target = (target * rng.integers(1, 65, target.shape) / 64).astype(np.float32)
        assert f_curve(scores, target).tolist() == slow_curve(scores, target)


def test_every_threshold_parts_the_floats_on_its_two_sides():
    below, above = (np.nextafter(THRESHOLDS, np.float32(side)) for side in (0, 1))
    scores = np.concatenate([THRESHOLDS, below, above, np.array([-0.0, 1e-45, 1e-38], np.float32)])[None]
    target = np.arange(scores.size).reshape(scores.shape) % 3 == 0
    assert f_curve(scores, target).tolist() == slow_curve(scores, target)


def test_iou_equals_the_loop_over_pixels():
    rng = np.random.default_rng(4)
    pred, target = rng.random((3, 5, 7)) < 0.4, rng.random((3, 5, 7)) < 0.4
    target[1] = False
    for t in range(3):
        pairs = list(zip(pred[t].ravel(), target[t].ravel(), strict=True))
        both, either = sum(p and g for p, g in pairs), sum(p or g for p, g in pairs)
        if t == 1:
            both, either = sum(not p for p, _ in pairs), len(pairs)
        assert frame_iou(pred, target)[t] == both / (either + 1e-7)


# --- identity and hand-worked -----------------------------------------------------------------------------


def test_a_perfect_prediction_scores_one():
    target = np.zeros((2, 4, 4), dtype=np.uint8)
    target[:, 1:3, 1:3] = 1
    assert frame_iou(target, target) == pytest.approx(1.0, abs=1e-7)
    assert one_call(target, target) == pytest.approx(1.0, abs=1e-12)


def test_hand_worked_iou_overlap_and_share():
    pred = np.array([[[1, 1, 0, 0]], [[1, 0, 0, 0]]])
    target = np.array([[[0, 1, 1, 0]], [[0, 0, 0, 0]]])
    assert frame_iou(pred, target) == pytest.approx([1 / 3, 3 / 4], abs=1e-7)
    intersection, union = frame_overlap(pred, target)
    assert (intersection.tolist(), union.tolist()) == ([1, 0], [3, 1])
    assert marked_share(pred).tolist() == [0.5, 0.25]


def test_hand_worked_f_takes_the_best_threshold_and_skips_empty_frames():
    scores = np.array([[[0.9, 0.6, 0.2, 0.1]], [[0.9, 0.9, 0.9, 0.9]]], dtype=np.float32)
    target = np.array([[[1, 0, 1, 0]], [[0, 0, 0, 0]]])
    # Marking 1, 2, 3 or 4 pixels: (P, R) = (1, 1/2), (1/2, 1/2), (2/3, 1), (1/2, 1).
    best = max(1.3 * p * r / (0.3 * p + r) for p, r in ((1, 1 / 2), (1 / 2, 1 / 2), (2 / 3, 1), (1 / 2, 1)))
    assert one_call(scores, target) == pytest.approx(best, abs=1e-12)


def test_marking_nothing_still_scores_the_f_of_marking_everything():
    target = np.array([[[1, 0, 0, 0]]])
    assert one_call(np.zeros((1, 1, 4)), target) == pytest.approx(1.3 * 0.25 / (0.3 * 0.25 + 1), abs=1e-12)


def test_a_call_without_sounding_pixels_scores_zero_and_counts():
    curves, frames = np.stack([np.full(255, 2.0), np.zeros(255)]), np.array([4, 0])
    assert max_f(curves, frames, 1) == 0.25
    assert max_f(curves, frames, 2) == 0.5
    assert max_f(curves, frames, None) == 0.5


def test_a_short_last_call_weighs_as_much_as_the_others():
    values = [np.array([1.0, 1.0]), np.array([0.0, 0.0]), np.array([1.0])]
    assert mean_over_calls(values, 2) == 0.75
    assert mean_over_calls(values, None) == pytest.approx(3 / 5)
    assert mean_over_calls(values, 1) == pytest.approx(2 / 3)
    assert calls_of(3, 2) == [slice(0, 2), slice(2, 4)]


def test_the_sigmoid_saturates_without_warning():
    assert sigmoid(np.array([-200.0, 0.0, 18.0])).tolist() == [0.0, 0.5, 1.0]
    assert stepping_stones_score(np.array([1.0]), np.array([0.5])).tolist() == [0.5]


# --- invalid ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pred", "target", "words"),
    [
        (np.zeros((2, 3, 3)), np.zeros((2, 3, 4)), "shape"),
        (np.zeros((3, 3)), np.zeros((3, 3)), "frames, height, width"),
        (np.zeros((0, 3, 3)), np.zeros((0, 3, 3)), "frames, height, width"),
        (np.full((1, 3, 3), 0.7), np.zeros((1, 3, 3)), "only 0 and 1"),
        (np.full((1, 3, 3), np.nan), np.zeros((1, 3, 3)), "only 0 and 1"),
        (np.zeros((1, 3, 3)), np.full((1, 3, 3), 255), r"\[0, 1\]"),
        (np.zeros((1, 3, 3)), np.full((1, 3, 3), np.nan), r"\[0, 1\]"),
    ],
)
def test_masks_of_the_wrong_shape_or_values_are_refused(pred, target, words):
    with pytest.raises(ValueError, match=words):
        frame_iou(pred, target)


@pytest.mark.parametrize("score", [np.nan, -0.1, 1.5, np.inf])
def test_scores_outside_zero_to_one_are_refused(score):
    scores = np.zeros((1, 2, 2))
    scores[0, 1, 1] = score
    with pytest.raises(ValueError, match=r"score map must lie in \[0, 1\]"):
        clip_f_curve(scores, np.ones((1, 2, 2)))


def test_no_clips_and_empty_calls_are_refused():
    with pytest.raises(ValueError, match="no clips"):
        max_f(np.zeros((0, 255)), np.zeros(0), 1)
    with pytest.raises(ValueError, match="at least one clip"):
        mean_over_calls([np.ones(1)], 0)
