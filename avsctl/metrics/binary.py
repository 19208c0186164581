"""Scores of sounding pixels: IoU per frame and the maximum F over 255 thresholds, as AVSBench defines them.

A target may be fractional (area shares in [0, 1]): AVSBench's formulas are then taken as they stand, a pixel
of 1/255 counting as 1/255 of a pixel. For masks of 0 and 1 this changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avsctl.metrics.checks import as_mask, as_target, as_unit_floats, check_same_frames

BETA_SQUARED = 0.3
NUM_THRESHOLDS = 255


def _float32_thresholds() -> np.ndarray:
    """Return AVSBench's linspace(0, 1 - 1e-10, 255) in float32, where the last is exactly 1.

    PyTorch counts from both ends with a float32 step and rounds once per value; numpy's linspace rounds 10 of
    them otherwise, which would move pixels across a threshold.
    """
    last = NUM_THRESHOLDS - 1
    step = np.float64(np.float32(1 - 1e-10) / np.float32(last))
    index = np.arange(NUM_THRESHOLDS)
    return np.where(index < NUM_THRESHOLDS // 2, step * index, 1 - step * (last - index)).astype(np.float32)


THRESHOLDS = _float32_thresholds()


def _thresholds_by_high_bits() -> tuple[np.ndarray, np.ndarray]:
    """For each upper half of a float32 in [0, 1]: thresholds passed for certain, and the one that lies among them.

    The 65,536 halves cut [0, 1] more finely than the thresholds do, so that no piece has two in it.
    """
    halves = np.arange(1 << 16, dtype=np.uint32)
    low, high = (halves << 16).view(np.float32), ((halves << 16) | 0xFFFF).view(np.float32)
    certain, within = np.zeros(1 << 16, np.uint8), np.full(1 << 16, np.inf, np.float32)
    known = halves < 0x3F80  # below 1.0
    certain[known] = np.searchsorted(THRESHOLDS, low[known], side="right")
    split = known & (np.append(THRESHOLDS, np.inf)[certain] <= high)
    within[split] = THRESHOLDS[certain[split]]
    certain[0x3F80] = NUM_THRESHOLDS  # 1.0
    certain[0x8000] = 1  # -0.0
    return certain, within


_CERTAIN, _WITHIN = _thresholds_by_high_bits()


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)) in float32, which is exactly 1 above about 17, as in the released code."""
    logits = np.asarray(logits, dtype=np.float32)
    with np.errstate(over="ignore"):  # exp(100) is inf in float32, and 1 / inf the 0 that is wanted
        return np.float32(1) / (np.float32(1) + np.exp(-logits))


def stepping_stones_score(background: np.ndarray, sounding: np.ndarray) -> np.ndarray:
    """Return sigmoid(2 * sounding - background), the score map that Stepping Stones gives to its F-score.

    Args:
        background, sounding: the two class maps of stage 1 after post-processing, not normalised, one shape.
    Returns: float32 scores in [0, 1]. They are not probabilities: 0.5 does not mark the model's decision.
    Source: released code of Stepping Stones (ECCV 2024).
    """
    background = np.asarray(background, dtype=np.float32)
    return sigmoid(np.float32(2) * np.asarray(sounding, dtype=np.float32) - background)


def frame_overlap(pred: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return intersection and union of the sounding pixels of each frame.

    Args:
        pred: (T, H, W) of 0 and 1. target: (T, H, W) in [0, 1].
    Returns: two float64 arrays (T,), in pixels.
    Raises: ValueError: If shapes or values are not so.
    """
    pred, target = _pair(pred, target)
    axes = (1, 2)
    if target.dtype == bool:
        both = _count(pred & target)
        return both, _count(pred) + _count(target) - both
    union = np.maximum(pred, target).sum(axis=axes, dtype=np.float64)
    return (pred * target).sum(axis=axes, dtype=np.float64), union


def frame_iou(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the IoU of the sounding pixels of each frame, by AVSBench's rule.

    A frame whose target is empty scores the share of its pixels that the prediction leaves empty: its
    intersection is the pixels not marked and its union all pixels.

    Args:
        pred: (T, H, W) of 0 and 1. target: (T, H, W) in [0, 1].
    Returns: (T,) float64 in [0, 1].
    Raises: ValueError: If shapes or values are not so.
    Source: AVSBench (ECCV 2022), released code.
    """
    pred, target = _pair(pred, target)
    intersection, union = frame_overlap(pred, target)
    empty = ~target.any(axis=(1, 2))
    pixels = pred[0].size
    intersection[empty] = pixels - _count(pred[empty])
    union[empty] = pixels
    return intersection / (union + 1e-7)


def marked_share(pred: np.ndarray) -> np.ndarray:
    """Return the share of pixels that each frame marks as sounding.

    When the sound of the clip was replaced by silence, noise or another clip's, nothing should be marked, and
    the mean of this is the false positive rate of AVSBench-Robust.

    Args: pred: (T, H, W) of 0 and 1.
    Returns: (T,) float64 in [0, 1].
    Raises: ValueError: If `pred` holds anything else.
    """
    mask = as_mask(pred, "prediction")
    return _count(mask) / mask[0].size


def f_measure(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Return F with beta^2 = 0.3, 0 where precision and recall are both 0 or either is NaN."""
    with np.errstate(invalid="ignore"):
        f = (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
    return np.nan_to_num(f, nan=0.0)


def f_curve(scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the F of one frame at each of the 255 thresholds, `scores >= threshold` being the prediction.

    One histogram of each pixel's number of thresholds passed replaces 255 comparisons of the whole frame and
    gives exactly the same numbers. The upper half of a score's bits leaves one threshold to compare it with.

    Args:
        scores: (H, W) float32 in [0, 1]. target: (H, W) boolean, or float in [0, 1], not all 0.
    Returns: (255,) float64. At threshold 0 all is marked, so that the best F is at least 1.3 s / (0.3 s + 1),
        s being the share of sounding pixels, even for a prediction that finds nothing.
    """
    flat = np.ascontiguousarray(scores, np.float32).ravel()
    half = (flat.view(np.uint32) >> 16).astype(np.intp)
    passed = _CERTAIN.take(half) + (flat >= _WITHIN.take(half))
    bins = NUM_THRESHOLDS + 1
    marked = np.bincount(passed, minlength=bins)
    if target.dtype == bool:
        hits, sounding = np.bincount(passed[target.ravel()], minlength=bins), np.count_nonzero(target)
    else:
        hits = np.bincount(passed, weights=target.ravel(), minlength=bins)
        sounding = target.sum(dtype=np.float64)
    # A pixel that passes k thresholds is marked at the first k: count from the top down.
    marked = np.cumsum(marked[::-1])[::-1][1:].astype(np.float64)
    hits = np.cumsum(hits[::-1])[::-1][1:].astype(np.float64)
    return f_measure(hits / (marked + 1e-20), hits / (sounding + 1e-20))


def clip_f_curve(scores: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, int]:
    """Sum the F curves of a clip's frames, leaving out the frames whose target is empty.

    Args:
        scores: (T, H, W) in [0, 1]. target: (T, H, W) in [0, 1].
    Returns: the summed curve (255,) float64, and how many frames are in it.
    Raises: ValueError: If shapes or values are not so.
    """
    scores = as_unit_floats(scores, "score map")
    target = as_target(target)
    check_same_frames(scores, target, "score map")
    total = np.zeros(NUM_THRESHOLDS)
    filled = np.flatnonzero(target.any(axis=(1, 2)))
    for t in filled:
        total += f_curve(scores[t], target[t])
    return total, len(filled)


def max_f(curves: np.ndarray, frames: np.ndarray, clips_per_call: int | None) -> float:
    """Return AVSBench's F: curves averaged within a call, the best threshold of each call, mean over calls.

    How many clips a call holds changes the result: each call has a threshold of its own. A call without any
    sounding pixel scores 0 and counts.

    Args:
        curves: (N, 255) summed curves of N clips in the order of the dataset.
        frames: (N,) frames in each sum.
        clips_per_call: 1 as in Stepping Stones, 4 as in AVSBench's test script, 2 as in AVSegFormer's; None
            for one call that holds the whole dataset. The last call may be shorter and weighs as much as
            the others.
    Raises: ValueError: If there are no clips or `clips_per_call` is below 1.
    """
    best = []
    for call in calls_of(len(curves), clips_per_call):
        total = frames[call].sum()
        best.append(curves[call].sum(axis=0).max() / total if total else 0.0)
    return float(np.mean(best))


def mean_over_calls(frame_values: Sequence[np.ndarray], clips_per_call: int | None) -> float:
    """Return the mean over calls of the mean over each call's frames.

    Args:
        frame_values: one (T,) array per clip.
        clips_per_call: with 1, clips weigh the same whatever their length; None pools all frames.
    Raises: ValueError: If there are no clips or `clips_per_call` is below 1.
    """
    calls = calls_of(len(frame_values), clips_per_call)
    return float(np.mean([np.concatenate(frame_values[call]).mean() for call in calls]))


def calls_of(clips: int, clips_per_call: int | None) -> list[slice]:
    """Cut `clips` clips into calls of `clips_per_call`, the last perhaps shorter; None makes one call.

    Raises: ValueError: If there are no clips or `clips_per_call` is below 1.
    """
    if clips < 1:
        raise ValueError("there are no clips to score")
    size = clips if clips_per_call is None else clips_per_call
    if size < 1:
        raise ValueError(f"a call must hold at least one clip, not {size}")
    return [slice(start, start + size) for start in range(0, clips, size)]


def _count(masks: np.ndarray) -> np.ndarray:
    """Marked pixels of each frame, (T,) float64: frame by frame, numpy's count is many times faster."""
    return np.array([np.count_nonzero(mask) for mask in masks], np.float64)


def _pair(pred: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pred, target = as_mask(pred, "prediction"), as_target(target)
    check_same_frames(pred, target)
    return pred, target
