"""Stage-1 results of a chosen accuracy: clips.h5 with its ground truth in, a prior cache out."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsctl.caches.clips import ClipCache
from avsctl.caches.priors import PriorCache
from avsctl.caches.shards import Shards
from avsctl.configs import LABEL_SIZE
from avsctl.data.decoding import decode_labels
from avsctl.data.labels import binary_label
from avsctl.data.simulated_priors import SimulatedFrame
from avsctl.data.workers import spread
from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent
from avsctl.stages.prior_assembly import assemble, is_up_to_date, making_priors, prior_item, repair_priors

log = logging.getLogger(__name__)

SEVERITIES = np.linspace(0.0, 1.0, 26)
SAMPLE = 160
"""Frames of a group that are drawn in full to calibrate it; all others only on the coarse grid."""
GUIDED, TRIES = 4, 16
CLOSE_ENOUGH = 0.001
ALLOWED = 0.01
CLIPS_PER_PART = 16

Group = tuple[str, str]


def simulate_priors(
    clips: Path,
    out: Path,
    miou: float,
    *,
    origin: str,
    seed: int = 0,
    subset: str | None = None,
    split: str | None = None,
    size: int = LABEL_SIZE,
    binary_labels: str = "bilinear",
    workers: int | None = None,
    overwrite: bool = False,
    repair: bool = False,
    track: Track = silent,
) -> Path:
    """Write priors made from the ground truth, with mIoU `miou` to within 0.01 on every subset and split.

    Each subset of each split is calibrated by itself, since the same errors cost more on small objects. A frame
    without a label gets an empty prior. What a frame looks like follows from the seed, its clip, its place in it and
    its group's severity alone.

    Args:
        clips: `clips.h5`; out: the cache to write.
        miou: mean IoU over labelled frames by AVSBench's rule, between 0 and 1.
        origin: the name of this accuracy: `low`, `high` or `miou-X`.
        subset, split: which clips; None or `all` for every one.
        size: side of the maps. binary_labels: the rule by which labels get that size.
        workers: processes, None for one per core.
        repair: check every clip of `out` and draw only those again whose maps are not what was written.
    Returns: `out`.
    Raises: AvsctlError: If `miou` is out of range, nothing is labelled, or `out` holds something else.
    """
    if not 0 < miou < 1:
        raise AvsctlError(f"--miou must lie between 0 and 1, not {miou}. For 1, use --prior oracle.")
    cache = ClipCache(clips)
    order = cache.select(split=split, subset=subset)
    plan = {
        "clips": cache.fingerprint,
        "miou": miou,
        "seed": seed,
        "subset": subset or "all",
        "split": split or "all",
        "size": size,
        "binary_labels": binary_labels,
    }
    truth = _Truth(cache, seed, size, binary_labels)

    def compute(items: Sequence[int]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        stored = PriorCache(out).header["options"]["severities"]
        known: dict[Group, float] = {_group(name): severity for name, severity in stored.items()}
        job = _Drawing(truth, order, known, Shards(out, plan, len(order)))
        return ((item, job.item(item)) for item in items)

    if repair and repair_priors(out, plan, cache, order, compute, track):
        return out
    if is_up_to_date(out, plan, overwrite or repair):
        return out
    severities = calibrate(truth, order, miou, workers=workers, track=track)
    plan["severities"] = {"/".join(group): severity for group, severity in severities.items()}
    with making_priors(out, plan, cache, order, size) as shards:
        missing = shards.missing()
        job = _Drawing(truth, order, severities, shards)
        for _ in track(spread(job, missing, workers), "drawing priors", total=len(missing)):
            pass
        assemble(out, shards, cache, order, origin=origin, plan=plan, track=track)
    _report_misses(out, miou)
    return out


def _group(name: str) -> Group:
    subset, _, split = name.rpartition("/")
    return subset, split


def calibrate(
    truth: _Truth, order: Sequence[int], miou: float, *, workers: int | None = None, track: Track = silent
) -> dict[Group, float]:
    """The severity at which each group (subset, split) with labels has the mIoU `miou`.

    All frames are scored on the coarse grid; a sample drawn in full says how far that is off.

    Raises: AvsctlError: If no frame has a label.
    """
    labelled = [clip for clip in order if truth.clips.labelled(clip).any()]
    if not labelled:
        raise AvsctlError(
            f"No frame of these clips in {truth.clips.path} has a label to simulate from. "
            f"Predict their priors with 'avsctl predict-priors' instead."
        )
    parts = [labelled[start : start + CLIPS_PER_PART] for start in range(0, len(labelled), CLIPS_PER_PART)]
    job = _Curves(truth, parts)
    curves: dict[int, np.ndarray] = {}
    for found in track(spread(job, range(len(parts)), workers), "calibrating", total=len(parts)):
        curves |= found
    groups: dict[Group, list[int]] = defaultdict(list)
    for clip in labelled:
        groups[truth.group(clip)].append(clip)
    names = sorted(groups)
    final = _Calibration(truth, miou, [(name, [(clip, curves[clip]) for clip in groups[name]]) for name in names])
    return dict(track(spread(final, range(len(names)), workers), "calibrating exactly", total=len(names)))


@dataclass(frozen=True)
class _Truth:
    """Ground truth as frames that can be made worse."""

    clips: ClipCache
    seed: int
    size: int
    binary_labels: str

    def group(self, clip: int) -> Group:
        return self.clips.subsets[clip], self.clips.splits[clip]

    def frames(self, clip: int) -> dict[int, SimulatedFrame]:
        """The labelled frames of a clip."""
        classes = {t: label for t, label in enumerate(decode_labels(self.clips, clip)) if label is not None}
        targets = {
            t: binary_label(index, self.size, rule=self.binary_labels, palette=self.clips.palette)
            for t, index in classes.items()
        }
        anywhere = np.any(list(targets.values()), axis=0)
        uid = self.clips.uids[clip]
        return {t: SimulatedFrame(targets[t], classes[t], anywhere, seed=self.seed, uid=uid, frame=t) for t in targets}


@dataclass(frozen=True)
class _Curves:
    """For each clip of a part the (T, severities) IoU of its labelled frames, on the coarse grid."""

    truth: _Truth
    parts: list[list[int]]

    def __call__(self, part: int) -> dict[int, np.ndarray]:
        return {
            clip: np.stack([frame.coarse_iou(SEVERITIES) for frame in self.truth.frames(clip).values()])
            for clip in self.parts[part]
        }


@dataclass(frozen=True)
class _Calibration:
    """Finds the severity of one group."""

    truth: _Truth
    miou: float
    groups: list[tuple[Group, list[tuple[int, np.ndarray]]]]

    def __call__(self, number: int) -> tuple[Group, float]:
        group, clips = self.groups[number]
        curve = np.concatenate([curve for _, curve in clips]).mean(0)
        sample, sample_curve = self._sample(clips)

        def score(severity: float) -> float:
            off = np.interp(severity, SEVERITIES, curve) - np.interp(severity, SEVERITIES, sample_curve)
            return float(np.mean([frame.iou(severity) for frame in sample]) + off)

        return group, find_severity(score, self.miou, curve)

    def _sample(self, clips: list[tuple[int, np.ndarray]]) -> tuple[list[SimulatedFrame], np.ndarray]:
        """Frames spread evenly over the group, and their mean curve."""
        places = [(clip, row) for clip, curve in clips for row in range(len(curve))]
        chosen: dict[int, list[int]] = defaultdict(list)
        for place in np.unique(np.linspace(0, len(places) - 1, min(SAMPLE, len(places))).round().astype(int)):
            chosen[places[place][0]].append(places[place][1])
        curves = dict(clips)
        frames = []
        for clip, rows in chosen.items():
            drawn = list(self.truth.frames(clip).values())
            frames += [drawn[row] for row in rows]
        return frames, np.concatenate([curves[clip][rows] for clip, rows in chosen.items()]).mean(0)


def find_severity(score: Callable[[float], float], wanted: float, curve: np.ndarray) -> float:
    """The severity in [0, 1] whose score comes closest to `wanted`.

    Args:
        score: a function of the severity, 1 at 0 and 0 at 1, continuous, falling on the whole.
        curve: nearly the same at `SEVERITIES`; where it fails as a guide, the bracket is halved.
    """
    falling = np.minimum.accumulate(curve)
    low, high, aim = 0.0, 1.0, wanted
    best, least = 0.0, np.inf
    for attempt in range(TRIES):
        severity = float(np.interp(-aim, -falling, SEVERITIES))
        if attempt >= GUIDED or not low < severity < high:
            severity = (low + high) / 2
        error = score(severity) - wanted
        if abs(error) < least:
            best, least = severity, abs(error)
        if least < CLOSE_ENOUGH:
            break
        low, high = (severity, high) if error > 0 else (low, severity)
        aim = float(np.interp(severity, SEVERITIES, falling)) - error
    return best


@dataclass(frozen=True)
class _Drawing:
    """Draws the clips of one shard; what a worker process holds."""

    truth: _Truth
    order: list[int]
    severities: Mapping[Group, float]
    shards: Shards

    def __call__(self, shard: int) -> int:
        self.shards.write(shard, [self.item(number) for number in self.shards.range(shard)])
        return shard

    def item(self, number: int) -> dict[str, np.ndarray]:
        """The priors of one clip."""
        clip = self.order[number]
        size, labelled = self.truth.size, self.truth.clips.labelled(clip)
        maps, labels = np.zeros((2, len(labelled), size, size), np.uint8)
        frames = self.truth.frames(clip) if labelled.any() else {}
        for t, frame in frames.items():
            maps[t] = frame.maps(self.severities[self.truth.group(clip)])
            labels[t] = frame.target
        return prior_item(maps, labels, labelled)


def _report_misses(out: Path, miou: float) -> None:
    for name, value in PriorCache(out).accuracy.items():
        if value is not None and abs(value - miou) > ALLOWED:
            log.warning("%s has mIoU %.3f, not %.3f: too few labelled pixels to come closer.", name, value, miou)
