"""Score masks that any program wrote, all on one ruler: a folder of PNGs in, a report out.

`<v1s|v1m|v2>/<uid>/<frame>.png`, frames from 0 (or the subsets by avsctl's names, or none). For the task avs the grey
value / 255 is the score, and more than 0.5 sounds. For avss a grey picture holds class indices, any other the
palette's colours.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avsctl.caches.clips import ClipCache
from avsctl.caches.files import hash_of
from avsctl.data.decoding import decode_labels
from avsctl.data.labels import binary_label, semantic_label
from avsctl.data.palette import colours_to_index, index_to_colours
from avsctl.data.workers import spread
from avsctl.errors import AvsctlError
from avsctl.metrics import BinaryScores, SemanticScores
from avsctl.progress import Track, silent
from avsctl.stages.evaluation_clips import labelled_clips
from avsctl.stages.evaluation_report import Report, per_class, write_report
from avsctl.stages.mask_files import clip_masks, grey_of, read_picture
from avsctl.workspace import Workspace

log = logging.getLogger(__name__)

SIZES = ("label", "224", "512")
FEW_CLIPS = 32
"""So many are scored in this process: another one takes as long to start."""


@dataclass(frozen=True)
class PredictionsConfig:
    """What `evaluate_predictions` scores.

    Args:
        folder: of the masks.
        split: `train`, `val`, `test` or `all`; subset: one of the cache's, or `all`.
        task: `avs` or `avss`; None is avss where the labels name classes.
        size: side at which masks and labels are compared, or `label` for each label's own size.
        binary_labels: how labels of the task avs shrink to a side, `bilinear` (released) or `nearest`.
        out: folder of the reports; None is the workspace's.
    """

    folder: Path
    split: str = "test"
    subset: str = "all"
    task: str | None = None
    size: str = "224"
    binary_labels: str = "bilinear"
    out: Path | None = None


def evaluate_predictions(
    workspace: Workspace, config: PredictionsConfig, *, workers: int | None = None, track: Track = silent
) -> Report:
    """Score the masks of every clip that has a labelled frame; only `clips.h5` is needed of the workspace.

    Masks get the size at which they are compared: classes by nearest neighbour, scores bilinearly (Pillow's, which
    averages where it shrinks), without keeping the aspect ratio.

    Args: workers: processes, None for one per core where there are many clips; the scores are the same.
    Raises: AvsctlError: If a mask is missing, one too many, not readable, or holds what is no class; nothing is
        written then.
    """
    clips = ClipCache(workspace.clips)
    task = _task(config, clips)
    if not config.folder.is_dir():
        raise AvsctlError(
            f"No folder of masks at {config.folder}. Give --predictions one that holds <v1s|v1m|v2>/<uid>/<frame>.png."
        )
    order = labelled_clips(clips, config.split, config.subset)
    files = [clip_masks(config.folder, clips.subsets[i], clips.uids[i], clips.frame_count(i)) for i in order]
    side = None if config.size == "label" else int(config.size)
    job = _Scoring(clips, order, files, task, side, config.binary_labels)
    if workers is None and len(order) <= FEW_CLIPS:
        workers = 1
    scores, hashes, highest = job.nothing(), [""] * len(order), 0.0
    done = spread(job, range(len(order)), workers)
    for number, part, digest, peak in track(done, f"scoring {config.folder.name}", len(order)):
        scores.merge(part)
        hashes[number] = digest
        highest = max(highest, peak)
    if task == "avs" and highest <= 0.5:
        log.warning(
            "No mask in %s is brighter than %d of 255, so that nothing sounds: 128 and more does. "
            "Class indices are for --task avss.", config.folder, round(255 * highest)
        )  # fmt: skip
    content = _content(config, task, clips, scores, hash_of(*hashes))
    return write_report((config.out or workspace.reports) / config.split, _name(config, task), content, scores)


def _task(config: PredictionsConfig, clips: ClipCache) -> str:
    semantic = clips.label_kind == "semantic"
    if config.task == "avss" and not semantic:
        raise AvsctlError(
            f"{clips.path} holds binary labels, which do not name classes: use --task avs, "
            f"or prepare AVSBench-semantic with 'avsctl prepare avsbench'."
        )
    task = config.task or ("avss" if semantic else "avs")
    means = {"avs": "grey value / 255 is the score of sounding", "avss": "they name classes"}[task]
    log.info("masks: %s, read for the task %s: %s", config.folder, task, means)
    return task


@dataclass(frozen=True)
class _Scoring:
    """Scores one clip; what a worker process holds. Gives its number, scores, files' hash and highest value."""

    clips: ClipCache
    order: list[int]
    files: list[list[Path]]
    task: str
    side: int | None
    binary_labels: str

    def nothing(self) -> BinaryScores | SemanticScores:
        """An accumulator without clips."""
        return BinaryScores() if self.task == "avs" else SemanticScores(len(self.clips.classes))

    def __call__(self, number: int) -> tuple[int, BinaryScores | SemanticScores, str, float]:
        clip = self.order[number]
        labels, paths = [], []
        for label, path in zip(decode_labels(self.clips, clip), self.files[number], strict=True):
            if label is not None:
                labels.append(self._label(label))
                paths.append(path)
        uid, shape = self.clips.uids[clip], labels[0].shape
        if any(label.shape != shape for label in labels):
            raise AvsctlError(f"The labels of clip {uid} differ in size. Use --size 224 or 512 instead of label.")
        scores, key = self.nothing(), (uid, self.clips.subsets[clip])
        if self.task == "avs":
            given = np.stack([_read_scores(path, shape) for path in paths])
            scores.add(*key, given > 0.5, np.stack(labels), scores=given, position=clip)
        else:
            given = np.stack([_read_classes(path, shape, len(self.clips.classes)) for path in paths])
            scores.add(*key, given, np.stack(labels), position=clip)
        return number, scores, hash_of(*(path.read_bytes() for path in paths)), float(given.max())

    def _label(self, index: np.ndarray) -> np.ndarray:
        if self.task == "avss":
            return index if self.side is None else semantic_label(index, self.side)
        if self.side is None:
            return (index != 0).astype(np.uint8)
        return binary_label(index, self.side, rule=self.binary_labels, palette=self.clips.palette)


def _read_scores(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """(h, w) float32 in [0, 1]."""
    picture = read_picture(path)
    if not picture.mode.startswith(("1", "L", "I")):
        colours = np.asarray(picture.convert("RGB"))
        if (colours != colours[..., :1]).any():
            raise AvsctlError(
                f"{path} holds colours, but for the task avs its grey values are scores. Write grey masks, "
                f"or use --task avss where colours name classes."
            )
    size, grey = shape[::-1], grey_of(picture)
    if grey.size != size:
        grey = grey.convert("F").resize(size, Image.Resampling.BILINEAR)
    # Pillow's weights may add up to a little more than 1.
    return np.clip(np.asarray(grey, np.float32) / np.float32(255), 0, 1)


def _read_classes(path: Path, shape: tuple[int, int], classes: int) -> np.ndarray:
    """(h, w) uint8 class indices."""
    picture = read_picture(path)
    if picture.mode.startswith(("1", "L", "I")):
        index = np.asarray(picture.getchannel("L") if picture.mode == "LA" else picture).astype(np.int64)
        if index.min() < 0 or index.max() >= classes:
            wrong = index.min() if index.min() < 0 else index.max()
            raise AvsctlError(
                f"{path} holds class index {wrong}, but the classes are 0 to {classes - 1}. Write class indices, "
                f"or use --task avs where grey values are scores."
            )
        index = index.astype(np.uint8)
    else:
        index = _classes_of_colours(path, np.asarray(picture.convert("RGB")), classes)
    size = shape[::-1]
    if picture.size == size:
        return index
    return np.asarray(Image.fromarray(index).resize(size, Image.Resampling.NEAREST))


def _classes_of_colours(path: Path, rgb: np.ndarray, classes: int) -> np.ndarray:
    index, stray = colours_to_index(rgb, classes)
    if stray:
        y, x = np.argwhere((index_to_colours(index, classes) != rgb).any(-1))[0]
        raise AvsctlError(
            f"{path} has {stray:,} pixels of colours that name none of the {classes} classes, the first is "
            f"{tuple(rgb[y, x].tolist())} in row {y}, column {x}. Write the palette's colours, "
            f"or class indices in grey."
        )
    return index


def _content(
    config: PredictionsConfig, task: str, clips: ClipCache, scores: BinaryScores | SemanticScores, fingerprint: str
) -> dict[str, Any]:
    result = scores.result()
    content: dict[str, Any] = {
        "task": task,
        "split": config.split,
        "subset": config.subset,
        "predictions": {"folder": str(config.folder), "fingerprint": fingerprint},
        "clips": {"path": str(clips.path), "fingerprint": clips.fingerprint, "classes": len(clips.classes)},
        "label_size": "label" if config.size == "label" else int(config.size),
        "scores": result,
    }
    if isinstance(scores, SemanticScores):
        content["per_class"] = per_class(scores, list(result["subsets"]), clips.classes)
    else:
        content["binary_labels"] = None if config.size == "label" else config.binary_labels
    return content


def _name(config: PredictionsConfig, task: str) -> str:
    """With a hash of the folder's path: folders of several programs are often called the same."""
    folder = config.folder.resolve()
    parts = [task, f"masks-{folder.name}-{hash_of(str(folder))[:6]}", config.subset, config.size]
    if task == "avs" and config.size != "label" and config.binary_labels != PredictionsConfig.binary_labels:
        parts.append(config.binary_labels)
    return ".".join(part.replace("/", "-") for part in parts)
