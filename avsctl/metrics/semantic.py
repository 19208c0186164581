"""Scores of semantic masks: IoU and F per frame and class as AVSBench counts them, and over a dataset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avsctl.metrics.binary import f_measure
from avsctl.metrics.checks import as_class_indices, as_labels, check_same_frames


@dataclass(frozen=True)
class ClassSums:
    """Sums of the IoU and F of single frames, per class.

    Attributes:
        iou, f_score: (K,) float64, summed over frames.
        frames: (K,) int64, in how many frames the class is predicted or present.
    """

    iou: np.ndarray
    f_score: np.ndarray
    frames: np.ndarray

    @classmethod
    def zeros(cls, num_classes: int) -> ClassSums:
        """Return the sums over no frames."""
        return cls(np.zeros(num_classes), np.zeros(num_classes), np.zeros(num_classes, dtype=np.int64))

    def padded(self, empty_frames: int) -> ClassSums:
        """Return the sums after adding frames that are all background in prediction and target: score 1."""
        background = np.zeros(len(self.iou))
        background[0] = empty_frames
        return ClassSums(self.iou + background, self.f_score + background, self.frames + background.astype(np.int64))

    def class_iou(self) -> np.ndarray:
        """Return the mean IoU of each class over the frames that have it, (K,), 0 where none has."""
        return self.iou / np.maximum(self.frames, 1)

    def class_f_score(self) -> np.ndarray:
        """Return the mean F of each class over the frames that have it, (K,), 0 where none has."""
        return self.f_score / np.maximum(self.frames, 1)


def frame_confusion(pred: np.ndarray, target: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the pixels of one frame by target class and predicted class.

    Args:
        pred: (H, W) class indices in [0, K).
        target: (H, W) integers; a pixel below 0 is ignored; one of K or more (such as 255) has no class, yet
            what is predicted there counts as predicted, as in AVSBench's code.
    Returns: (K + 1, K) int64, rows by target, the last row being the pixels without a class.
    """
    rows = np.minimum(target.ravel().astype(np.int64), num_classes)
    cells = rows * num_classes + pred.ravel()
    if (rows < 0).any():
        cells = cells[rows >= 0]
    return np.bincount(cells, minlength=(num_classes + 1) * num_classes).reshape(num_classes + 1, num_classes)


def confusion_scores(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return IoU, F (beta^2 = 0.3) and presence of each class from a (K + 1, K) or (K, K) confusion matrix.

    IoU and F are 0 for a class without any overlap; a class is present if it is predicted or in the target.

    Returns: two (K,) float64 arrays and one (K,) boolean array.
    """
    num_classes = confusion.shape[1]
    overlap = np.diagonal(confusion[:num_classes]).astype(np.float64)
    predicted = confusion.sum(axis=0)
    labelled = confusion[:num_classes].sum(axis=1)
    union = predicted + labelled - overlap
    iou = overlap / np.maximum(union, 1)
    f = f_measure(overlap / np.maximum(predicted, 1), overlap / np.maximum(labelled, 1))
    return iou, f, union > 0


def clip_class_sums(pred: np.ndarray, target: np.ndarray, num_classes: int) -> tuple[ClassSums, np.ndarray, np.ndarray]:
    """Score every frame of a clip per class.

    Args:
        pred: (T, H, W) class indices in [0, K). target: (T, H, W) integers, see `frame_confusion`.
    Returns:
        the sums over the frames;
        (T,) float64, the mean IoU of each frame over the classes that it hits at all (IoU above 0), 0 if it
            hits none: AVSBench's list of frame scores;
        (K, K) int64, pixels by target and prediction over the clip, those without a class left out.
    Raises: ValueError: If shapes or values are not so.
    """
    pred = as_class_indices(pred, num_classes, "prediction")
    target = as_labels(target, "target")
    check_same_frames(pred, target)
    total = np.zeros((num_classes, num_classes), dtype=np.int64)
    iou_sum, f_sum, frames = np.zeros(num_classes), np.zeros(num_classes), np.zeros(num_classes, np.int64)
    hit_iou = np.zeros(len(pred))
    for t in range(len(pred)):
        confusion = frame_confusion(pred[t], target[t], num_classes)
        iou, f, present = confusion_scores(confusion)
        iou_sum += iou
        f_sum += f
        frames += present
        hit_iou[t] = iou.sum() / max(np.count_nonzero(iou), 1)
        total += confusion[:num_classes]
    return ClassSums(iou_sum, f_sum, frames), hit_iou, total


def class_means(values: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    """Average a per-class score in every way in use.

    Args:
        values: (K,) with 0 for classes never seen. seen: (K,) boolean.
    Returns: `""` over all K classes, unseen ones as 0; `"_foreground"` without class 0; `"_present"` over the
        seen classes; `"_foreground_present"` both; `"_legacy"` the slice `[:-1]`, which drops the last class
        where the background was meant.
    """
    return {
        "": _mean(values),
        "_foreground": _mean(values[1:]),
        "_present": _mean(values[seen]),
        "_foreground_present": _mean(values[1:][seen[1:]]),
        "_legacy": _mean(values[:-1]),
    }


def sounding(labels: np.ndarray, *, background: int = 0) -> np.ndarray:
    """Return the mask of all pixels of another class than the background: semantic masks as AVS masks."""
    return np.asarray(labels) != background


def sounding_pair(pred: np.ndarray, target: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn semantic masks into sounding masks; pixels whose target has no class are background in both."""
    known = (target >= 0) & (target < num_classes)
    return sounding(pred) & known, sounding(target) & known


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
