"""What sounded when: the content of the JSON files that `visualize` writes.

`<stem>.json`, keys that stay as they are; times are seconds from the first picture, shares and confidences 0 to 1:

| key | meaning |
|---|---|
| format, format_version | `avsctl-visualization`, 1 |
| fingerprint | hash of the video, the checkpoints and the options: the same work gives the same |
| video | path, width, height, duration, fps, rotation, has_audio, frames_shown, frames_lost, start, end |
| models | avs, avss: name, path, sha256 (first 16 digits), encoder; or null |
| options | fps, alpha, prior_form, precision, start, end, classes, only, transparent, audio_weights |
| versions | avsctl, torch |
| classes | by name: index, colour, seconds (of sounding), intervals [[start, end], …], area and confidence (means) |
| frames | one per frame the model saw: time, mask (file in `<stem>-masks`, or null), classes: name, area, confidence |
| notes | what was unusual about the video |
| outputs | names of the files and folders beside the JSON: overlay, sheets, timeline, masks |

The JSON of a comparison, `<stem>-compare.json`, has the format `avsctl-comparison`, and `runs` instead of models,
classes and frames: one per column, each with its label and its own models, classes and frames.

A class is listed in a frame when it covers at least 0.1 % of it: area is that share, confidence the mean over its
pixels of its part in the sum of all class maps. An interval starts with the first frame that lists the class and
ends where the next frame without it begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avsctl import __version__
from avsctl.inference import decide

MIN_AREA = 0.001
_SHOWN = 5  # classes named in the summary


@dataclass(frozen=True)
class Presence:
    """One class in one frame: its index, share of the picture, and mean confidence."""

    index: int
    area: float
    confidence: float


def presences(maps: Tensor) -> list[list[Presence]]:
    """The classes in each of N frames, the largest first.

    Args:
        maps: (N, K, h, w) class maps.
    """
    decided = decide(maps)
    total = maps.sum(1).clamp_min(torch.finfo(maps.dtype).tiny)
    found = []
    for number, index_map in enumerate(decided):
        entries = []
        for index in torch.unique(index_map).tolist():
            where = index_map == index
            area = where.float().mean().item()
            if index and area >= MIN_AREA:
                share = (maps[number, index][where] / total[number][where]).mean().item()
                entries.append(Presence(index, area, min(share, 1.0)))
        found.append(sorted(entries, key=lambda entry: -entry.area))
    return found


class Timeline:
    """Collects what sounds in each seen frame, in order; `masks` says whether each has its mask in a file."""

    def __init__(self, names: Sequence[str], colours: np.ndarray, *, masks: bool = True):
        self.names, self.colours, self.masks = names, colours, masks
        self.times: list[float] = []
        self.entries: list[list[Presence]] = []

    def add(self, seconds: float, entries: list[Presence]) -> None:
        """Note the classes of the frame at `seconds`."""
        self.times.append(seconds)
        self.entries.append(entries)

    def frames(self) -> list[dict[str, Any]]:
        """The `frames` of the JSON."""
        return [
            {
                "time": round(time, 3),
                "mask": mask_name(time) if self.masks else None,
                "classes": [self._named(entry) for entry in entries],
            }
            for time, entries in zip(self.times, self.entries, strict=True)
        ]

    def classes(self, duration: float) -> dict[str, Any]:
        """The `classes` of the JSON, in index order.

        Args:
            duration: when the last frame ends.
        """
        indices = sorted({entry.index for entries in self.entries for entry in entries})
        return {self.names[index]: self._class(index, duration) for index in indices}

    def _class(self, index: int, duration: float) -> dict[str, Any]:
        ends = [*self.times[1:], max(duration, self.times[-1])]
        mine = [next((entry for entry in entries if entry.index == index), None) for entries in self.entries]
        intervals: list[list[float]] = []
        for entry, start, end in zip(mine, self.times, ends, strict=True):
            if entry is None:
                continue
            if intervals and intervals[-1][1] == start:
                intervals[-1][1] = end
            else:
                intervals.append([start, end])
        present = [entry for entry in mine if entry is not None]
        return {
            "index": index,
            "colour": [int(value) for value in self.colours[index]],
            "seconds": round(sum(end - start for start, end in intervals), 3),
            "intervals": [[round(start, 3), round(end, 3)] for start, end in intervals],
            "area": round(float(np.mean([entry.area for entry in present])), 4),
            "confidence": round(float(np.mean([entry.confidence for entry in present])), 4),
        }

    def _named(self, entry: Presence) -> dict[str, Any]:
        return {
            "name": self.names[entry.index],
            "area": round(entry.area, 4),
            "confidence": round(entry.confidence, 4),
        }


def mask_name(seconds: float) -> str:
    """The file name of the mask at a time: `0003.250.png`."""
    return f"{seconds:08.3f}.png"


def summary(classes: dict[str, Any]) -> str:
    """One line: what sounded, the longest first, with its first and last moment."""
    if not classes:
        return "nothing sounded"
    longest = sorted(classes.items(), key=lambda item: -item[1]["seconds"])
    parts = [_stretches(name, content["intervals"]) for name, content in longest[:_SHOWN]]
    rest = len(longest) - _SHOWN
    return "sounded: " + "; ".join(parts) + (f"; and {rest} more" if rest > 0 else "")


def _stretches(name: str, intervals: list[list[float]]) -> str:
    if len(intervals) <= 2:
        text = ", ".join(f"{start:.1f}-{end:.1f} s" for start, end in intervals)
    else:
        text = f"{len(intervals)} times in {intervals[0][0]:.1f}-{intervals[-1][1]:.1f} s"
    return f"{name} {text}"


def versions() -> dict[str, str]:
    """What made the result."""
    return {"avsctl": __version__, "torch": torch.__version__}
