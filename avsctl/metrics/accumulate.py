"""One pass over the predictions of a split: clips go in one by one in any order, every score comes out.

An accumulator keeps a few numbers per clip, never a mask, so thousands of clips fit; it pickles, so processes
can send theirs to one another and merge them. Clips are put in the order of (position, subset, uid) before
anything is summed in float64, so results are equal to the last bit however the clips were batched or spread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np

from avsctl.errors import AvsctlError
from avsctl.metrics.binary import (
    clip_f_curve,
    f_measure,
    frame_iou,
    frame_overlap,
    marked_share,
    max_f,
    mean_over_calls,
)
from avsctl.metrics.checks import as_mask, as_target
from avsctl.metrics.meanings import LEGACY_BATCHES
from avsctl.metrics.on_disk import OnDisk
from avsctl.metrics.semantic import (
    ClassSums,
    class_means,
    clip_class_sums,
    confusion_scores,
    sounding_pair,
)

Clip = TypeVar("Clip")

PADDED_FRAMES = 10  # AVSBench's and AVSegFormer's loaders fill every clip up to this


@dataclass(frozen=True, slots=True)
class _BinaryClip:
    iou: np.ndarray  # (T,)
    marked: np.ndarray  # (T,)
    pixels: np.ndarray  # intersection, predicted, target; (3,)
    curve: OnDisk  # (255,); two of them are 4 KB, which would add up
    stepping_stones_curve: OnDisk | None
    filled_frames: int


@dataclass(frozen=True)
class _SemanticClip:
    classes: np.ndarray  # (C,) the classes predicted or present in the clip; the three below belong to them
    iou: np.ndarray
    f_score: np.ndarray
    class_frames: np.ndarray
    hit_iou: np.ndarray  # (T,)
    cells: np.ndarray  # flat places in the confusion matrix that are not 0
    counts: np.ndarray


class _Clips(Generic[Clip]):
    """Clips by subset and uid, given back in the order of the dataset."""

    def __init__(self) -> None:
        self._clips: dict[tuple[str, str], tuple[int, Clip]] = {}

    def __len__(self) -> int:
        return len(self._clips)

    def check_new(self, keys: Iterable[tuple[str, str]]) -> None:
        for subset, uid in keys:
            if (subset, uid) in self._clips:
                raise ValueError(f"clip {uid} of subset {subset} was scored already")

    def put(self, subset: str, uid: str, position: int, clip: Clip) -> None:
        self._clips[subset, uid] = (position, clip)

    def merge(self, other: _Clips[Clip]) -> None:
        self.check_new(other._clips)
        self._clips.update(other._clips)

    def split(self, size: int) -> Iterator[_Clips[Clip]]:
        """The same clips, at most `size` together."""
        items = iter(self._clips.items())
        while some := dict(islice(items, size)):
            part: _Clips[Clip] = _Clips()
            part._clips = some
            yield part

    def subsets(self) -> list[str]:
        return sorted({subset for subset, _ in self._clips})

    def ordered(self, subset: str | None) -> list[Clip]:
        return [clip for _, _, clip in self.named(subset)]

    def named(self, subset: str | None = None) -> list[tuple[str, str, Clip]]:
        """Subset, uid and clip, in order."""
        chosen = [
            (position, *key, clip)
            for key, (position, clip) in self._clips.items()
            if subset is None or key[0] == subset
        ]
        return [item[1:] for item in sorted(chosen, key=lambda item: item[:3])]


@dataclass(frozen=True)
class ClipScore:
    """What one clip adds to a score: its labelled frames as sounding masks, or those that have one class.

    Attributes:
        index: the class, None for sounding masks.
        frames: labelled frames; for a class those where it is predicted or present.
        iou, f_score: mean over these frames; the F of sounding masks is that at the clip's best threshold.
    """

    subset: str
    uid: str
    index: int | None
    frames: int
    iou: float
    f_score: float


class BinaryScores:
    """Collects the scores of sounding masks; `MEANINGS["binary"]` says what each name of the result means."""

    def __init__(self) -> None:
        self._clips: _Clips[_BinaryClip] = _Clips()

    def __len__(self) -> int:
        return len(self._clips)

    def add(
        self,
        clip_uid: str,
        subset: str,
        pred: np.ndarray,
        target: np.ndarray,
        *,
        scores: np.ndarray | None = None,
        stepping_stones_scores: np.ndarray | None = None,
        position: int = 0,
    ) -> None:
        """Score one clip; give its labelled frames only.

        Args:
            clip_uid, subset: together the clip's identity.
            pred: (T, H, W) the masks as decided, 0 and 1. target: (T, H, W) 0 and 1 (or shares in [0, 1]).
            scores: (T, H, W) sounding probability in [0, 1] for the F-score; without it, the masks.
            stepping_stones_scores: (T, H, W) from `stepping_stones_score`; `f_score_stepping_stones` is in
                the result only if every clip brought it.
            position: place in the dataset, which decides the clips that legacy calls hold; at equal
                positions, subset and uid decide.
        Raises:
            AvsctlError: If shapes or values are wrong; nothing is added then.
            ValueError: If the clip was added before.
        """
        self._clips.check_new([(subset, clip_uid)])
        try:
            clip = _score_binary(pred, target, scores, stepping_stones_scores)
        except ValueError as error:
            raise _unscorable(clip_uid, subset, error) from error
        self._clips.put(subset, clip_uid, position, clip)

    def merge(self, other: BinaryScores) -> None:
        """Take over the clips of another accumulator.

        Raises: ValueError: If a clip is in both; nothing is taken over then.
        """
        self._clips.merge(other._clips)

    def like(self) -> BinaryScores:
        """An empty accumulator of the same kind."""
        return BinaryScores()

    def split(self, size: int) -> Iterator[BinaryScores]:
        """The same clips in accumulators of at most `size`, which can be merged again."""
        for clips in self._clips.split(size):
            part = BinaryScores()
            part._clips = clips
            yield part

    def result(self) -> dict[str, dict]:
        """Return `{"all": scores, "subsets": {subset: scores}}`, scores being names to plain numbers.

        Raises: AvsctlError: If no clip was added.
        """
        return _results(self._clips, self._of)

    def per_clip(self) -> list[ClipScore]:
        """Return one score for each clip, in the order of the dataset; `miou` and `f_score` are their means."""
        return [_binary_clip_score(subset, uid, clip) for subset, uid, clip in self._clips.named()]

    def _of(self, subset: str | None) -> dict[str, float]:
        clips: list[_BinaryClip] = self._clips.ordered(subset)
        ious, filled = [c.iou for c in clips], np.array([c.filled_frames for c in clips])
        curves = np.stack([c.curve.read() for c in clips])
        hits, predicted, labelled = np.sum([c.pixels for c in clips], axis=0)
        scores = {
            "clips": len(clips),
            "frames": sum(len(iou) for iou in ious),
            "miou": mean_over_calls(ious, 1),
            "miou_frames": mean_over_calls(ious, None),
            "f_score": max_f(curves, filled, 1),
            "f_score_dataset": max_f(curves, filled, None),
        }
        for size in LEGACY_BATCHES:
            scores[f"f_score_legacy_batch{size}"] = max_f(curves, filled, size)
            scores[f"miou_legacy_batch{size}"] = mean_over_calls(ious, size)
        theirs = [c.stepping_stones_curve.read() for c in clips if c.stepping_stones_curve is not None]
        if len(theirs) == len(clips):
            scores["f_score_stepping_stones"] = max_f(np.stack(theirs), filled, 1)
        union = predicted + labelled - hits
        # Nothing to find and nothing marked is a perfect answer, so an all-empty set is not 0 / 0.
        scores["dataset_iou"] = float(hits / union) if union else 1.0
        scores["dataset_f_score"] = _pooled_f(hits, predicted, labelled) if union else 1.0
        scores["marked_share"] = mean_over_calls([c.marked for c in clips], None)
        return scores


class SemanticScores:
    """Collects the scores of semantic masks; `MEANINGS["semantic"]` says what each name of the result means.

    Args: num_classes: K, the background (class 0) included.
    Raises: ValueError: If there are fewer than 2 classes.
    """

    def __init__(self, num_classes: int) -> None:
        if num_classes < 2:
            raise ValueError(f"semantic scores need at least 2 classes, background and one more, not {num_classes}")
        self.num_classes = num_classes
        self._clips: _Clips[_SemanticClip] = _Clips()
        self._avs = BinaryScores()

    def __len__(self) -> int:
        return len(self._clips)

    def add(
        self,
        clip_uid: str,
        subset: str,
        pred: np.ndarray,
        target: np.ndarray,
        *,
        scores: np.ndarray | None = None,
        position: int = 0,
    ) -> None:
        """Score one clip; give its labelled frames only.

        Args:
            clip_uid, subset: together the clip's identity.
            pred: (T, H, W) class indices in [0, K).
            target: (T, H, W) class indices; below 0 a pixel is ignored; at K or above (such as 255) it has no
                class, yet the prediction there counts as predicted in the scores per frame, as in AVSBench's
                code.
            scores: (T, H, W) probability in [0, 1] that anything sounds, for `avs_f_score`; without it, the
                masks.
            position: place in the dataset, as for `BinaryScores.add`.
        Raises:
            AvsctlError: If shapes or values are wrong; nothing is added then.
            ValueError: If the clip was added before.
        """
        self._clips.check_new([(subset, clip_uid)])
        try:
            clip = _score_semantic(pred, target, self.num_classes)
        except ValueError as error:
            raise _unscorable(clip_uid, subset, error) from error
        masks = sounding_pair(np.asarray(pred), np.asarray(target), self.num_classes)
        self._avs.add(clip_uid, subset, *masks, scores=scores, position=position)
        self._clips.put(subset, clip_uid, position, clip)

    def merge(self, other: SemanticScores) -> None:
        """Take over the clips of another accumulator.

        Raises: ValueError: If a clip is in both or the numbers of classes differ; nothing is taken over then.
        """
        if other.num_classes != self.num_classes:
            raise ValueError(f"cannot merge scores of {other.num_classes} classes into {self.num_classes}")
        self._clips.merge(other._clips)
        self._avs.merge(other._avs)

    def like(self) -> SemanticScores:
        """An empty accumulator of the same kind."""
        return SemanticScores(self.num_classes)

    def split(self, size: int) -> Iterator[SemanticScores]:
        """The same clips in accumulators of at most `size`, which can be merged again."""
        for clips, avs in zip(self._clips.split(size), self._avs.split(size), strict=True):
            part = SemanticScores(self.num_classes)
            part._clips, part._avs = clips, avs
            yield part

    def result(self) -> dict[str, dict]:
        """Return `{"all": scores, "subsets": {subset: scores}}`, scores being names to plain numbers.

        Raises: AvsctlError: If no clip was added.
        """
        return _results(self._clips, self._of)

    def per_class(self, subset: str | None = None) -> dict[str, np.ndarray]:
        """Return what the means are made of, one (K,) array per name, for the whole set or one subset.

        `iou` and `f_score` are means over `frames`, the frames that have the class predicted or present;
        `dataset_iou` and `dataset_f_score` come from the confusion matrix; `target_pixels` and
        `predicted_pixels` count its rows and columns. A class never seen has zeros throughout.
        """
        sums, confusion = self._sums(subset), self.confusion(subset)
        dataset_iou, dataset_f, _ = confusion_scores(confusion)
        return {
            "iou": sums.class_iou(),
            "f_score": sums.class_f_score(),
            "frames": sums.frames,
            "dataset_iou": dataset_iou,
            "dataset_f_score": dataset_f,
            "target_pixels": confusion.sum(axis=1),
            "predicted_pixels": confusion.sum(axis=0),
        }

    def per_clip(self) -> list[ClipScore]:
        """Return for each clip, in the order of the dataset, its score as AVS and one for each class it has.

        With frames as weights, the means of a class over clips are its `iou` and `f_score` in `per_class`.
        """
        rows = []
        for as_avs, (subset, uid, clip) in zip(self._avs.per_clip(), self._clips.named(), strict=True):
            means = zip(clip.classes, clip.class_frames, clip.iou, clip.f_score, strict=True)
            classes = [ClipScore(subset, uid, int(k), int(n), float(i / n), float(f / n)) for k, n, i, f in means]
            rows += [as_avs, *classes]
        return rows

    def confusion(self, subset: str | None = None) -> np.ndarray:
        """Return the (K, K) int64 count of labelled pixels, rows by target, columns by prediction."""
        flat = np.zeros(self.num_classes**2, dtype=np.int64)
        for clip in self._clips.ordered(subset):
            flat[clip.cells] += clip.counts
        return flat.reshape(self.num_classes, self.num_classes)

    def _sums(self, subset: str | None) -> ClassSums:
        sums = ClassSums.zeros(self.num_classes)
        for clip in self._clips.ordered(subset):
            sums.iou[clip.classes] += clip.iou
            sums.f_score[clip.classes] += clip.f_score
            sums.frames[clip.classes] += clip.class_frames
        return sums

    def _of(self, subset: str | None) -> dict[str, float]:
        clips: list[_SemanticClip] = self._clips.ordered(subset)
        hit_ious = [c.hit_iou for c in clips]
        sums, confusion = self._sums(subset), self.confusion(subset)
        padded = sums.padded(sum(max(PADDED_FRAMES - len(hit), 0) for hit in hit_ious))
        seen = sums.frames > 0
        dataset_iou, dataset_f, dataset_seen = confusion_scores(confusion)
        scores: dict[str, float] = {
            "clips": len(clips),
            "frames": sum(len(hit) for hit in hit_ious),
            "classes_seen": int(seen.sum()),
            **{f"miou{way}": mean for way, mean in class_means(sums.class_iou(), seen).items()},
            **{f"f_score{way}": mean for way, mean in class_means(sums.class_f_score(), seen).items()},
            "miou_frame_hits": mean_over_calls(hit_ious, None),
        }
        for name, values in (("miou", padded.class_iou()), ("f_score", padded.class_f_score())):
            means = class_means(values, seen)
            scores |= {f"{name}_padded": means[""], f"{name}_padded_legacy": means["_legacy"]}
        for name, values in (("dataset_miou", dataset_iou), ("dataset_f_score", dataset_f)):
            means = class_means(values, dataset_seen)
            scores |= {name: means["_present"], f"{name}_foreground": means["_foreground_present"]}
        scores["pixel_accuracy"] = float(np.trace(confusion) / max(confusion.sum(), 1))
        avs = self._avs._of(subset)
        return scores | {f"avs_{name}": avs[name] for name in avs if name not in ("clips", "frames")}


def _binary_clip_score(subset: str, uid: str, clip: _BinaryClip) -> ClipScore:
    f = float(clip.curve.read().max() / clip.filled_frames) if clip.filled_frames else 0.0
    return ClipScore(subset, uid, None, len(clip.iou), float(clip.iou.mean()), f)


def _pooled_f(hits: float, predicted: float, labelled: float) -> float:
    return float(f_measure(np.array(hits / max(predicted, 1e-20)), np.array(hits / max(labelled, 1e-20))))


def _score_binary(
    pred: np.ndarray,
    target: np.ndarray,
    scores: np.ndarray | None,
    stepping_stones_scores: np.ndarray | None,
) -> _BinaryClip:
    pred, target = as_mask(pred, "prediction"), as_target(target)
    intersection, _ = frame_overlap(pred, target)
    labelled = np.count_nonzero(target) if target.dtype == bool else target.sum(dtype=np.float64)
    pixels = np.array([intersection.sum(), np.count_nonzero(pred), labelled], dtype=np.float64)
    curve, filled = clip_f_curve(pred if scores is None else scores, target)
    theirs = None if stepping_stones_scores is None else OnDisk(clip_f_curve(stepping_stones_scores, target)[0])
    return _BinaryClip(frame_iou(pred, target), marked_share(pred), pixels, OnDisk(curve), theirs, filled)


def _score_semantic(pred: np.ndarray, target: np.ndarray, num_classes: int) -> _SemanticClip:
    sums, hit_iou, confusion = clip_class_sums(pred, target, num_classes)
    classes, cells = np.flatnonzero(sums.frames), np.flatnonzero(confusion)
    return _SemanticClip(
        classes,
        sums.iou[classes],
        sums.f_score[classes],
        sums.frames[classes],
        hit_iou,
        cells,
        confusion.ravel()[cells],
    )


def _results(clips: _Clips[Any], score: Callable[[str | None], dict]) -> dict[str, dict]:
    if not len(clips):
        raise AvsctlError(
            "No clip was scored: the split has no labelled frames. "
            "`avsctl status` shows what the workspace holds; choose another --split or --subset"
        )
    return {"all": score(None), "subsets": {subset: score(subset) for subset in clips.subsets()}}


def _unscorable(clip_uid: str, subset: str, error: ValueError) -> AvsctlError:
    return AvsctlError(
        f"Clip {clip_uid} of subset {subset} cannot be scored: {error}. Make its masks again or leave the clip out"
    )
