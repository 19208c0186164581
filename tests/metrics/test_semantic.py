from __future__ import annotations

import numpy as np
import pytest

from avsctl.metrics.binary import frame_iou
from avsctl.metrics.semantic import (
    ClassSums,
    class_means,
    clip_class_sums,
    confusion_scores,
    frame_confusion,
    sounding,
    sounding_pair,
)

K = 71
FLOAT32 = 5e-7  # the published code divides and sums in float32; per class up to 20 frames are summed
FLOAT32_SUM = 5e-6

CASES = [
    "many_classes",
    "single_class_man",
    "class_confusion",
    "all_background_correct",
    "all_background_gt_pred_fg",
    "fg_gt_pred_background",
    "short_clip",
    "two_clips_one_batch",
    "random_logits",
    "label_minus_one_ignored",
    "label_255",
]


def case_arrays(tensors: dict, case: str) -> tuple[np.ndarray, np.ndarray]:
    if case == "random_logits":
        return tensors[f"{case}.logits"].argmax(axis=1), tensors[f"{case}.gt"]
    return tensors[f"{case}.pred_label"], tensors[f"{case}.gt"]


def dense(sparse: dict[str, float]) -> np.ndarray:
    values = np.zeros(K)
    for index, value in sparse.items():
        values[int(index)] = value
    return values


def assert_sums(sums: ClassSums, expected: dict) -> None:
    np.testing.assert_allclose(sums.iou, dense(expected["iou_sum"]), rtol=0, atol=FLOAT32_SUM)
    np.testing.assert_allclose(sums.f_score, dense(expected["fscore_sum"]), rtol=0, atol=FLOAT32_SUM)
    np.testing.assert_array_equal(sums.frames, dense(expected["cls_count"]))


# --- parity with the published code -----------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_sums_per_class_and_frame_scores_equal_the_published_ones(golden, case):
    tensors, record = golden("baselines_semantic")
    expected = record["expected"][case]
    sums, hits, _ = clip_class_sums(*case_arrays(tensors, case), K)
    assert_sums(sums, expected)
    np.testing.assert_allclose(hits, expected["vid_miou_list"], rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("case", CASES)
def test_masks_of_all_but_the_last_class_equal_the_published_binary_miou(golden, case):
    tensors, record = golden("baselines_semantic")
    pred, target = (sounding(labels, background=K - 1) for labels in case_arrays(tensors, case))
    assert frame_iou(pred, target).mean() == pytest.approx(record["expected"][case]["calc_binary_miou"], abs=FLOAT32)


def test_a_short_clip_without_padding_equals_stepping_stones_and_with_it_avsbench(golden):
    tensors, record = golden("baselines_semantic")
    expected = record["expected"]["short_clip"]
    sums, _, _ = clip_class_sums(tensors["short_clip.pred_label_first5"], tensors["short_clip.gt"][:5], K)
    assert_sums(sums, expected["stepping_stones"])
    assert_sums(sums.padded(5), expected)


@pytest.mark.parametrize("clip", [0, 1, 2])
def test_sums_per_class_equal_the_released_stepping_stones_code(golden, clip):
    tensors, _ = golden("aavs_semantic")
    sums, _, _ = clip_class_sums(tensors[f"sem.{clip}.pred"], tensors[f"sem.{clip}.gt"], K)
    np.testing.assert_allclose(sums.iou, tensors[f"sem.{clip}.iou_sum"], rtol=0, atol=FLOAT32_SUM)
    np.testing.assert_allclose(sums.f_score, tensors[f"sem.{clip}.f_sum"], rtol=0, atol=FLOAT32_SUM)
    np.testing.assert_array_equal(sums.frames, tensors[f"sem.{clip}.count"])


def test_every_published_case_is_compared(golden):
    _, record = golden("baselines_semantic")
    assert set(record["expected"]) == {*CASES, "DATASET_LEVEL"}


# --- the fast form against the obvious one ----------------------------------------------------------------


def slow_frame(pred: np.ndarray, target: np.ndarray, num_classes: int):
    iou, f, present = np.zeros(num_classes), np.zeros(num_classes), np.zeros(num_classes, dtype=bool)
    predicted = np.where(target < 0, -1, pred)
    for c in range(num_classes):
        p, g = predicted == c, target == c
        both, either = (p & g).sum(), (p | g).sum()
        present[c] = either > 0
        iou[c] = both / either if either else 0
        if both:
            precision, recall = both / p.sum(), both / g.sum()
            f[c] = (1 + 0.3) * precision * recall / (0.3 * precision + recall)
    return iou, f, present


@pytest.mark.parametrize("num_classes", [2, 5, 90])
def test_bincounts_equal_the_loop_over_classes_exactly(num_classes):
    rng = np.random.default_rng(num_classes)
    pred = rng.integers(0, num_classes, (4, 9, 11)).astype(np.uint8)
    target = np.where(rng.random(pred.shape) < 0.5, pred, rng.integers(-1, num_classes + 2, pred.shape))
    target[3] = 255
    sums, _, confusion = clip_class_sums(pred, target, num_classes)
    slow = [slow_frame(pred[t], target[t], num_classes) for t in range(4)]
    np.testing.assert_array_equal(sums.iou, sum(iou for iou, _, _ in slow))
    np.testing.assert_array_equal(sums.f_score, sum(f for _, f, _ in slow))
    np.testing.assert_array_equal(sums.frames, sum(present.astype(int) for _, _, present in slow))
    for g in range(num_classes):
        for p in range(num_classes):
            assert confusion[g, p] == ((target == g) & (pred == p)).sum()


# --- identity and hand-worked -----------------------------------------------------------------------------


def test_a_perfect_prediction_scores_one_in_every_class_it_has():
    labels = np.random.default_rng(0).integers(0, 4, (3, 8, 8))
    sums, hits, confusion = clip_class_sums(labels, labels, 6)
    assert sums.class_iou().tolist() == [1, 1, 1, 1, 0, 0]
    assert sums.class_f_score() == pytest.approx([1, 1, 1, 1, 0, 0])
    assert hits == pytest.approx([1, 1, 1])
    assert confusion.sum() == np.trace(confusion) == labels.size


def test_hand_worked_frame():
    pred = np.array([[[0, 0, 1, 1, 2, 2]]])
    target = np.array([[[0, 0, 0, 1, 1, 1]]])
    sums, hits, _ = clip_class_sums(pred, target, 4)
    assert sums.iou == pytest.approx([2 / 3, 1 / 4, 0, 0])
    first, second = 1.3 * (2 / 3) / (0.3 + 2 / 3), 1.3 / 6 / (0.3 / 2 + 1 / 3)  # P, R = 1, 2/3 and 1/2, 1/3
    assert sums.f_score == pytest.approx([first, second, 0, 0])
    assert sums.frames.tolist() == [1, 1, 1, 0]
    assert hits == pytest.approx([(2 / 3 + 1 / 4) / 2])


def test_hand_worked_means():
    means = class_means(np.array([0.8, 0.4, 0.0, 0.6]), np.array([True, True, False, True]))
    assert means == pytest.approx(
        {"": 0.45, "_foreground": 1 / 3, "_present": 0.6, "_foreground_present": 0.5, "_legacy": 0.4}
    )


def test_means_over_no_class_are_zero():
    nothing_but_background = class_means(np.array([1.0, 0.0]), np.array([True, False]))
    assert nothing_but_background["_foreground_present"] == 0.0


def test_a_pixel_without_a_class_counts_as_predicted_and_an_ignored_one_not_at_all():
    confusion = frame_confusion(np.array([[1, 1, 1]]), np.array([[1, 255, -1]]), 2)
    assert confusion.tolist() == [[0, 0], [0, 1], [0, 1]]
    iou, _, present = confusion_scores(confusion)
    assert (iou.tolist(), present.tolist()) == ([0, 0.5], [False, True])


def test_sounding_masks_leave_out_pixels_without_a_class():
    pred, target = sounding_pair(np.array([0, 3, 3, 3]), np.array([2, 1, 255, -1]), 4)
    assert (pred.tolist(), target.tolist()) == ([False, True, False, False], [True, True, False, False])


# --- invalid ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pred", "target", "words"),
    [
        (np.full((1, 2, 2), 5), np.zeros((1, 2, 2), int), "class 5, but the classes are 0 to 4"),
        (np.full((1, 2, 2), -1), np.zeros((1, 2, 2), int), "class -1"),
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 2), int), "prediction must hold class indices"),
        (np.zeros((1, 2, 2), int), np.full((1, 2, 2), np.nan), "target must hold class indices"),
        (np.zeros((1, 2, 2), int), np.zeros((2, 2, 2), int), "shape"),
        (np.zeros((0, 2, 2), int), np.zeros((0, 2, 2), int), "frames, height, width"),
    ],
)
def test_labels_of_the_wrong_shape_or_values_are_refused(pred, target, words):
    with pytest.raises(ValueError, match=words):
        clip_class_sums(pred, target, 5)
