"""Inspect a dataset without writing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from avsctl.caches.clips import SPLITS
from avsctl.data.entries import Entry
from avsctl.data.layouts import Dataset
from avsctl.data.media import BrokenClip
from avsctl.data.workers import spread
from avsctl.progress import Track, silent

PER_JOB = 8


def check(
    dataset: Dataset, *, subset: str | None = None, workers: int | None = None, track: Track = silent
) -> dict[str, Any]:
    """Look at every row and every file of a dataset.

    Args:
        subset: only this one's clips; source videos are compared over all.
    Returns: a report of plain values:
        `counts` (clips by subset and split, `expected` where AVSBench's own number is known);
        `csv_problems`; `broken` (uid, path, reason, kind of each clip that cannot be read), `broken_kinds`;
        `off_palette` (pixels with foreign colours by label file); `greys` (masks that are not pure black and white);
        `stray_classes` (by uid, classes in the labels that the csv does not name); `no_class` (names in the csv that
        are no class, with their number); `shared_videos` (see `shared_videos`); `videos_in_two_splits`;
        `usable` (whether `prepare` would succeed).
    """
    entries = [entry for entry in dataset.entries if subset in (None, "all", entry.subset)]
    report: dict[str, Any] = {
        "layout": dataset.name,
        "root": str(dataset.root),
        "clips": len(entries),
        "counts": _counts(dataset, entries),
        "csv_problems": dataset.problems,
        "no_class": _no_class(dataset.classes, entries),
        "shared_videos": shared_videos(dataset.entries),
        "videos_in_two_splits": videos_in_two_splits(dataset.entries),
    }
    report |= _look_at_files(dataset, entries, workers, track)
    report["usable"] = bool(entries) and not dataset.problems and not report["broken"]
    return report


def shared_videos(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """How many clips of each validation and test split come from the source video of a training clip.

    Returns: for each subset and split `clips`, and how many of them share their video with a training clip of the
        same subset (`same_subset`), of another one (`other_subset`), of any (`any_subset`), and for test clips with
        a validation clip of any subset (`validation`, else None).
    """
    entries = list(entries)
    videos: dict[tuple[str, str], set[str]] = {}
    for entry in entries:
        videos.setdefault((entry.subset, entry.split), set()).add(entry.video)
    subsets = sorted({entry.subset for entry in entries})
    validation = set().union(*(videos.get((subset, "val"), set()) for subset in subsets))
    rows = []
    for subset in subsets:
        same = videos.get((subset, "train"), set())
        other = set().union(*(videos.get((name, "train"), set()) for name in subsets if name != subset))
        for split in SPLITS[1:]:
            of = [entry.video for entry in entries if (entry.subset, entry.split) == (subset, split)]
            if not of:
                continue
            row = {"subset": subset, "split": split, "clips": len(of)}
            for name, those in (("same_subset", same), ("other_subset", other), ("any_subset", same | other)):
                row[name] = sum(video in those for video in of)
            row["validation"] = sum(video in validation for video in of) if split == "test" else None
            rows.append(row)
    return rows


def videos_in_two_splits(entries: Iterable[Entry]) -> dict[str, int]:
    """Number of source videos with clips in more than one split, by subset and over `all` of them."""
    splits: dict[tuple[str, str], set[str]] = {}
    for entry in entries:
        for scope in (entry.subset, "all"):
            splits.setdefault((scope, entry.video), set()).add(entry.split)
    found = {scope: 0 for scope, _ in sorted(splits)}
    for (scope, _), those in splits.items():
        found[scope] += len(those) > 1
    return found


def _counts(dataset: Dataset, entries: Sequence[Entry]) -> dict[str, dict[str, dict[str, int | None]]]:
    have = Counter((entry.subset, entry.split) for entry in entries)
    subsets = sorted({subset for subset, _ in have})
    return {
        subset: {
            split: {"clips": have[subset, split], "expected": dataset.expected_counts.get((subset, split))}
            for split in SPLITS
        }
        for subset in subsets
    }


def _no_class(classes: Sequence[str], entries: Iterable[Entry]) -> dict[str, int]:
    known = set(classes)
    names = Counter(name for entry in entries for name in entry.objects if name not in known)
    return dict(sorted(names.items()))


@dataclass(frozen=True)
class _Looking:
    """Reads a few clips; what a worker process holds."""

    dataset: Dataset
    entries: list[Entry]

    def __call__(self, job: int) -> tuple[int, list[dict[str, Any]]]:
        return job, [self.look(entry) for entry in self.entries[job * PER_JOB : (job + 1) * PER_JOB]]

    def look(self, entry: Entry) -> dict[str, Any]:
        """What is odd about one clip."""
        try:
            loaded = self.dataset.read(entry)
        except BrokenClip as broken:
            what = {"uid": entry.uid, "subset": entry.subset, "split": entry.split}
            return {"broken": {**what, "path": broken.path, "reason": broken.reason, "kind": broken.kind}}
        names = {self.dataset.classes[index] for index in loaded.present if index}
        named = {name.replace(" ", "") for name in entry.objects}
        stray = sorted(names - named) if entry.objects else []
        return {"uid": entry.uid, "off_palette": loaded.off_palette, "greys": loaded.greys, "stray": stray}


def _look_at_files(dataset: Dataset, entries: list[Entry], workers: int | None, track: Track) -> dict[str, Any]:
    jobs = range(-(-len(entries) // PER_JOB))
    found: dict[int, list[dict[str, Any]]] = {}
    results = _each_clip(spread(_Looking(dataset, entries), jobs, workers), found)
    for _ in track(results, "looking at clips", total=len(entries)):
        pass
    clips = [clip for job in jobs for clip in found[job]]
    broken = [clip["broken"] for clip in clips if "broken" in clip]
    whole = [clip for clip in clips if "broken" not in clip]
    return {
        "broken": broken,
        "broken_kinds": dict(Counter(clip["kind"] for clip in broken).most_common()),
        "off_palette": {path: pixels for clip in whole for path, pixels in clip["off_palette"].items()},
        "greys": [path for clip in whole for path in clip["greys"]],
        "stray_classes": {clip["uid"]: clip["stray"] for clip in whole if clip["stray"]},
    }


def _each_clip(
    results: Iterable[tuple[int, list[dict[str, Any]]]], found: dict[int, list[dict[str, Any]]]
) -> Iterator[int]:
    for job, clips in results:
        found[job] = clips
        yield from range(len(clips))
