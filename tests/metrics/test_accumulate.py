from __future__ import annotations

import json
import pickle
import re

import numpy as np
import pytest

from avsctl.errors import AvsctlError
from avsctl.metrics import MEANINGS, BinaryScores, SemanticScores
from avsctl.metrics.accumulate import PADDED_FRAMES
from avsctl.metrics.binary import clip_f_curve, frame_iou, marked_share, max_f, stepping_stones_score
from avsctl.metrics.semantic import clip_class_sums

FLOAT32 = 5e-7  # the published code computes in float32
ROUNDED = 5e-7  # the released binary scores are rounded to 6 decimals


def random_clips(seed: int = 0, num_classes: int = 5) -> list[dict]:
    """Nine clips of three subsets, of different lengths, some without any sound."""
    rng = np.random.default_rng(seed)
    clips = []
    for i in range(9):
        shape = (10 if i % 3 == 2 else 5, 6, 7)
        target = np.where(rng.random(shape) < 0.3, rng.integers(1, num_classes - 1, shape), 0)
        pred = np.where(rng.random(shape) < 0.7, target, rng.integers(0, num_classes, shape))
        if i in (1, 4):
            target[:] = 0
        scores = rng.random(shape, dtype=np.float32)
        clip = {"uid": f"clip{(i * 5) % 9}", "subset": ("s4", "ms3", "v2")[i % 3], "position": i}
        clips.append(clip | {"pred": pred, "target": target, "scores": scores})
    return clips


def add_binary(scores: BinaryScores, clip: dict) -> None:
    background = 1 - clip["scores"]
    scores.add(
        clip["uid"],
        clip["subset"],
        clip["pred"] > 0,
        clip["target"] > 0,
        scores=clip["scores"],
        stepping_stones_scores=stepping_stones_score(background, clip["scores"]),
        position=clip["position"],
    )


def add_semantic(scores: SemanticScores, clip: dict) -> None:
    arrays = (clip["pred"], clip["target"])
    scores.add(clip["uid"], clip["subset"], *arrays, scores=clip["scores"], position=clip["position"])


FAMILIES = [(BinaryScores, add_binary, "binary"), (lambda: SemanticScores(5), add_semantic, "semantic")]


def score_all(make, add, clips: list[dict]):
    scores = make()
    for clip in clips:
        add(scores, clip)
    return scores


# --- parity with the published test scripts ---------------------------------------------------------------


def test_binary_scores_of_a_set_equal_the_released_stepping_stones_test(golden):
    tensors, record = golden("aavs_binary")
    together = BinaryScores()
    for i, expected in enumerate(record["binary_per_video"]):
        background, sounding = tensors[f"binary.{i}.logits"].swapaxes(0, 1)
        arrays = (sounding > background, tensors[f"binary.{i}.gt"])
        alone = BinaryScores()
        for scores in (alone, together):
            scores.add(str(i), "s4", *arrays, stepping_stones_scores=stepping_stones_score(background, sounding))
        result = alone.result()["all"]
        assert result["miou"] == pytest.approx(expected["miou"], abs=FLOAT32)
        assert result["f_score_stepping_stones"] == pytest.approx(expected["fscore"], abs=FLOAT32)
    final = together.result()["all"]
    assert final["miou"] == pytest.approx(record["binary_final"]["miou"], abs=ROUNDED + FLOAT32)
    assert final["f_score_stepping_stones"] == pytest.approx(record["binary_final"]["fscore"], abs=ROUNDED + FLOAT32)


def test_semantic_scores_of_a_set_equal_the_released_stepping_stones_test(golden):
    tensors, record = golden("aavs_semantic")
    scores = SemanticScores(71)
    for i in range(3):
        scores.add(str(i), "v2", tensors[f"sem.{i}.pred"], tensors[f"sem.{i}.gt"])
    result, expected = scores.result()["all"], record["semantic_final"]
    assert result["miou"] == pytest.approx(expected["miou"], abs=FLOAT32)
    assert result["miou_foreground"] == pytest.approx(expected["miou_nb"], abs=FLOAT32)
    assert result["f_score"] == pytest.approx(expected["fscore"], abs=FLOAT32)
    assert result["f_score_foreground"] == pytest.approx(expected["fscore_nb"], abs=FLOAT32)


@pytest.mark.parametrize("mix", ["all", "few_classes", "short_clip_only"])
def test_semantic_scores_of_a_set_equal_all_three_published_test_scripts(golden, mix):
    tensors, record = golden("baselines_semantic")
    published = record["expected"]["DATASET_LEVEL"][mix]
    scores, padding_beyond_theirs = SemanticScores(71), 0
    for case in published["cases"]:
        pred, target = tensors.get(f"{case}.pred_label"), tensors[f"{case}.gt"]
        if case == "random_logits":  # 4 frames in every code base
            pred = tensors[f"{case}.logits"].argmax(axis=1)
            padding_beyond_theirs = PADDED_FRAMES - len(pred)
        if case == "short_clip":
            pred, target = tensors["short_clip.pred_label_first5"], target[:5]
        scores.add(case, "v2", pred, target)
    result = scores.result()["all"]

    theirs = published["stepping_stones"]
    assert result["miou"] == pytest.approx(theirs["miou"], abs=FLOAT32)
    assert result["miou_foreground"] == pytest.approx(theirs["miou_noBg"], abs=FLOAT32)
    assert result["miou_present"] == pytest.approx(theirs["miou_over_seen"], abs=FLOAT32)
    assert result["f_score"] == pytest.approx(theirs["F_score"], abs=FLOAT32)
    assert result["f_score_foreground"] == pytest.approx(theirs["F_score_noBg"], abs=FLOAT32)
    assert result["f_score_present"] == pytest.approx(theirs["F_over_seen"], abs=FLOAT32)
    assert result["classes_seen"] == theirs["classes_seen"]
    if padding_beyond_theirs:
        return  # the padded scores of this mix would pad a clip that no loader yields
    theirs = published["avsbench_avsegformer"]
    assert result["miou_padded"] == pytest.approx(theirs["miou"], abs=FLOAT32)
    assert result["miou_padded_legacy"] == pytest.approx(theirs["miou_noBg"], abs=FLOAT32)
    assert result["f_score_padded"] == pytest.approx(theirs["F_score"], abs=FLOAT32)
    assert result["f_score_padded_legacy"] == pytest.approx(theirs["F_score_noBg"], abs=FLOAT32)


def test_the_padded_mix_of_all_cases_equals_avsbench_where_clips_are_padded_beforehand(golden):
    tensors, record = golden("baselines_semantic")
    published = record["expected"]["DATASET_LEVEL"]["all"]
    scores = SemanticScores(71)
    for case in published["cases"]:
        pred = tensors.get(f"{case}.pred_label")
        if pred is None:
            pred = tensors[f"{case}.logits"].argmax(axis=1)
        scores.add(case, "v2", pred, tensors[f"{case}.gt"])
    result, theirs = scores.result()["all"], published["avsbench_avsegformer"]
    assert result["miou"] == pytest.approx(theirs["miou"], abs=FLOAT32)
    assert result["miou_legacy"] == pytest.approx(theirs["miou_noBg"], abs=FLOAT32)
    assert result["f_score"] == pytest.approx(theirs["F_score"], abs=FLOAT32)
    assert result["f_score_legacy"] == pytest.approx(theirs["F_score_noBg"], abs=FLOAT32)


def test_f_of_two_clips_in_one_published_call_and_in_two(golden):
    tensors, record = golden("baselines_binary")
    expected = record["expected"]["batching_note"]
    scores = BinaryScores()
    for position, clip in enumerate(("clip_a", "clip_b")):
        probability = 1 / (1 + np.exp(-tensors[f"{clip}.pred"]))
        scores.add(clip, "s4", probability > 0.5, tensors[f"{clip}.gt"], scores=probability, position=position)
    result = scores.result()["all"]
    assert result["f_score"] == pytest.approx(expected["F_mean_of_two_batches"], abs=FLOAT32)
    for name in ("f_score_legacy_batch2", "f_score_legacy_batch4", "f_score_dataset"):
        assert result[name] == pytest.approx(expected["F_one_batch"], abs=FLOAT32)
    assert result["miou"] == pytest.approx(expected["iou_mean_of_two"], abs=FLOAT32)


# --- the accumulated result against a slow, obvious computation on all arrays ----------------------------


def test_binary_results_equal_those_of_all_arrays_kept():
    clips = random_clips()
    result = score_all(BinaryScores, add_binary, clips).result()["all"]
    ious = [frame_iou(c["pred"] > 0, c["target"] > 0) for c in clips]
    assert result["miou"] == pytest.approx(np.mean([iou.mean() for iou in ious]), abs=1e-12)
    assert result["miou_frames"] == pytest.approx(np.concatenate(ious).mean(), abs=1e-12)
    shares = np.concatenate([marked_share(c["pred"] > 0) for c in clips])
    assert result["marked_share"] == pytest.approx(shares.mean(), abs=1e-12)
    assert result["frames"] == len(shares)
    for size in (2, 4, 8):
        values = []
        for start in range(0, 9, size):
            batch = clips[start : start + size]
            arrays = [np.concatenate([c[key] for c in batch]) for key in ("scores", "target")]
            curve, frames = clip_f_curve(arrays[0], arrays[1] > 0)
            values.append(max_f(curve[None], np.array([frames]), 1))
        assert result[f"f_score_legacy_batch{size}"] == pytest.approx(np.mean(values), abs=1e-12)
    pred = np.concatenate([c["pred"].ravel() > 0 for c in clips])
    target = np.concatenate([c["target"].ravel() > 0 for c in clips])
    hits = (pred & target).sum()
    assert result["dataset_iou"] == pytest.approx(hits / (pred | target).sum(), abs=1e-12)
    p, r = hits / pred.sum(), hits / target.sum()
    assert result["dataset_f_score"] == pytest.approx(1.3 * p * r / (0.3 * p + r), abs=1e-12)


def test_semantic_results_equal_those_of_all_arrays_kept():
    clips = random_clips()
    scores = score_all(lambda: SemanticScores(5), add_semantic, clips)
    pred, target = (np.concatenate([c[key] for c in clips]) for key in ("pred", "target"))
    sums, hits, confusion = clip_class_sums(pred, target, 5)
    result, per_class = scores.result()["all"], scores.per_class()
    np.testing.assert_allclose(per_class["iou"], sums.class_iou(), rtol=1e-12)
    np.testing.assert_allclose(per_class["f_score"], sums.class_f_score(), rtol=1e-12)
    np.testing.assert_array_equal(per_class["frames"], sums.frames)
    np.testing.assert_array_equal(scores.confusion(), confusion)
    assert result["miou"] == pytest.approx(per_class["iou"].mean())
    assert result["miou_frame_hits"] == pytest.approx(hits.mean())
    dataset = [
        ((pred == c) & (target == c)).sum() / ((pred == c) | (target == c)).sum()
        for c in range(5)
        if ((pred == c) | (target == c)).any()
    ]
    assert result["dataset_miou"] == pytest.approx(np.mean(dataset))
    assert result["dataset_miou_foreground"] == pytest.approx(np.mean(dataset[1:]))
    assert result["pixel_accuracy"] == pytest.approx((pred == target).mean())


def test_semantic_masks_are_scored_as_sounding_masks_too():
    clips = random_clips()
    semantic = score_all(lambda: SemanticScores(5), add_semantic, clips).result()
    binary = score_all(BinaryScores, add_binary, clips).result()
    for part in ("all", *binary["subsets"]):
        theirs = binary["all"] if part == "all" else binary["subsets"][part]
        ours = semantic["all"] if part == "all" else semantic["subsets"][part]
        expected = {f"avs_{k}": v for k, v in theirs.items() if k not in ("clips", "frames", "f_score_stepping_stones")}
        assert {k: v for k, v in ours.items() if k.startswith("avs_")} == expected


# --- order, merging, names --------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "add", "family"), FAMILIES)
def test_results_are_equal_to_the_last_bit_in_any_order_and_any_split_over_processes(make, add, family):
    clips = random_clips()
    straight = score_all(make, add, clips).result()
    rng = np.random.default_rng(1)
    for workers in (1, 2, 4):
        shuffled = [clips[i] for i in rng.permutation(len(clips))]
        parts = [score_all(make, add, shuffled[worker::workers]) for worker in range(workers)]
        merged = make()
        for part in parts:
            merged.merge(pickle.loads(pickle.dumps(part)))
        assert merged.result() == straight


@pytest.mark.parametrize(("make", "add", "family"), FAMILIES)
def test_a_subset_scores_as_if_it_were_alone(make, add, family):
    clips = random_clips()
    result = score_all(make, add, clips).result()
    assert list(result["subsets"]) == ["ms3", "s4", "v2"]
    for subset, scores in result["subsets"].items():
        alone = [clip for clip in clips if clip["subset"] == subset]
        assert score_all(make, add, alone).result()["all"] == scores


@pytest.mark.parametrize(("make", "add", "family"), FAMILIES)
def test_every_name_of_a_result_has_a_meaning_and_every_meaning_a_result(make, add, family):
    result = score_all(make, add, random_clips()).result()
    assert set(result["all"]) == set(MEANINGS[family])
    assert all(set(scores) == set(MEANINGS[family]) for scores in result["subsets"].values())
    assert all(meaning and "\n" not in meaning for meaning in MEANINGS[family].values())
    assert json.loads(json.dumps(result)) == result


@pytest.mark.parametrize(("make", "add", "family"), FAMILIES)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_what_is_split_and_merged_is_the_same_to_the_last_bit(make, add, family, size):
    whole = score_all(make, add, random_clips())
    parts = [pickle.loads(pickle.dumps(part)) for part in whole.split(size)]
    assert max(map(len, parts)) <= size
    merged = whole.like()
    for part in reversed(parts):
        merged.merge(part)
    assert merged.result() == whole.result()
    assert merged.per_clip() == whole.per_clip()


def test_positions_decide_which_clips_share_a_legacy_call():
    clips = random_clips()
    straight = score_all(BinaryScores, add_binary, clips).result()["all"]
    for clip in clips:
        clip["position"] = (clip["position"] * 4) % 9
    moved = score_all(BinaryScores, add_binary, clips).result()["all"]
    assert moved["f_score_legacy_batch2"] != straight["f_score_legacy_batch2"]
    assert moved["f_score"] == pytest.approx(straight["f_score"], abs=1e-12)


def test_only_clips_shorter_than_ten_frames_are_padded():
    scores = SemanticScores(2)
    background = np.zeros((10, 2, 2), dtype=np.uint8)
    scores.add("long", "v2", background + 1, background)
    assert scores.result()["all"]["miou_padded"] == 0
    scores.add("short", "s4", background[:5] + 1, background[:5])
    assert scores.result()["all"]["miou_padded"] == pytest.approx((5 / 20 + 0) / 2)  # 5 padded of 20 frames


def test_a_perfect_prediction_scores_one_by_every_name_but_those_that_count_missing_classes():
    target = np.arange(5 * 4 * 4).reshape(5, 4, 4) % 3
    semantic = SemanticScores(3)
    semantic.add("a", "s4", target, target)
    for name, value in semantic.result()["all"].items():
        if name.startswith(("miou", "f_score", "dataset", "pixel", "avs_miou", "avs_f", "avs_dataset")):
            assert value == pytest.approx(1, abs=1e-7), name


def test_an_empty_set_with_nothing_marked_has_pooled_scores_of_one():
    scores = BinaryScores()
    scores.add("a", "ms3", np.zeros((5, 3, 3)), np.zeros((5, 3, 3)))
    result = scores.result()["all"]
    assert (result["dataset_iou"], result["dataset_f_score"], result["f_score"]) == (1, 1, 0)
    assert result["miou"] == pytest.approx(1, abs=1e-7)


def test_the_stepping_stones_f_is_left_out_unless_every_clip_brought_its_score():
    scores, mask = BinaryScores(), np.ones((1, 2, 2))
    scores.add("a", "s4", mask, mask, stepping_stones_scores=mask)
    assert "f_score_stepping_stones" in scores.result()["all"]
    scores.add("b", "s4", mask, mask)
    assert "f_score_stepping_stones" not in scores.result()["all"]


def test_a_clip_takes_a_few_kilobytes_whatever_its_size():
    rng = np.random.default_rng(2)
    target = np.zeros((10, 224, 224), dtype=np.uint8)
    target[:, 50:90, 60:120] = 7
    scores = SemanticScores(71)
    scores.add("a", "v2", target, target, scores=rng.random(target.shape, dtype=np.float32))
    before = len(pickle.dumps(scores))
    scores.add("b", "v2", target, target, scores=rng.random(target.shape, dtype=np.float32))
    assert len(pickle.dumps(scores)) - before < 6000


# --- invalid ----------------------------------------------------------------------------------------------


def test_a_clip_that_cannot_be_scored_is_named_and_leaves_no_trace():
    labels = np.zeros((5, 3, 3), dtype=np.int64)
    scores = SemanticScores(4)
    for bad in (
        {"pred": labels + 9, "target": labels},
        {"pred": labels, "target": labels[:4]},
        {"pred": labels, "target": labels * np.nan},
        {"pred": labels, "target": labels, "scores": np.full(labels.shape, np.nan)},
    ):
        with pytest.raises(AvsctlError, match="Clip dog_1 of subset s4 cannot be scored"):
            scores.add("dog_1", "s4", **bad)
    assert len(scores) == 0
    binary = BinaryScores()
    with pytest.raises(AvsctlError, match=re.escape("the score map must lie in [0, 1]")):
        binary.add("dog_1", "s4", labels, labels, scores=labels + 2)
    assert len(binary) == 0


@pytest.mark.parametrize(("make", "add", "family"), FAMILIES)
def test_a_clip_counts_once(make, add, family):
    clips = random_clips()
    one, other = score_all(make, add, clips[:3]), score_all(make, add, clips[2:])
    with pytest.raises(ValueError, match="was scored already"):
        add(one, clips[0])
    with pytest.raises(ValueError, match="was scored already"):
        one.merge(other)
    assert len(one) == 3


def test_scores_of_different_numbers_of_classes_do_not_merge():
    with pytest.raises(ValueError, match="cannot merge scores of 3 classes into 2"):
        SemanticScores(2).merge(SemanticScores(3))
    with pytest.raises(ValueError, match="at least 2 classes"):
        SemanticScores(1)


@pytest.mark.parametrize(("make", "add", "family"), FAMILIES)
def test_a_result_of_nothing_says_what_to_do(make, add, family):
    with pytest.raises(AvsctlError, match="No clip was scored.*avsctl status"):
        make().result()


@pytest.mark.parametrize(("make", "add", "family"), FAMILIES)
def test_scores_of_single_clips_make_up_the_score_of_all(make, add, family):
    scores = score_all(make, add, random_clips())
    rows, prefix = scores.per_clip(), "" if family == "binary" else "avs_"
    result = scores.result()
    for subset in ("s4", "ms3", "v2"):
        mine = [row for row in rows if row.index is None and row.subset == subset]
        for name in ("iou", "f_score"):
            mean = np.mean([getattr(row, name) for row in mine])
            whole = result["subsets"][subset][prefix + name.replace("iou", "miou")]
            assert mean == pytest.approx(whole, abs=1e-12)  # sums in another order
    if family == "semantic":
        table = scores.per_class()
        for index in range(5):
            mine = [row for row in rows if row.index == index]
            assert sum(row.frames for row in mine) == table["frames"][index]
            weighted = sum(row.frames * row.iou for row in mine) / max(table["frames"][index], 1)
            assert weighted == pytest.approx(table["iou"][index], abs=1e-12)
