"""AVSBench-semantic: `metadata.csv`, `label2idx.json`, `{v1s|v1m|v2}/<uid>/{frames,labels_rgb}` and `audio.wav`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from avsctl.caches.clips import SUBSETS, ClipRecord
from avsctl.data.entries import Entry
from avsctl.data.layouts import Dataset, Loaded, register_dataset
from avsctl.data.media import BrokenClip, index_png, read_colour_label, read_frame, read_sound, require_folder
from avsctl.data.palette import palette
from avsctl.data.tables import duplicates, read_label2idx, read_table, row_problem, shortened

FRAMES = {"v1s": 5, "v1m": 5, "v2": 10}
"""Frames, one per second, of a clip of each subset."""
_COUNTS = {"s4": (3452, 740, 740), "ms3": (296, 64, 64), "v2": (4750, 500, 750)}
_MIXED_UID = re.compile(r"(.{11})_\d+")
_FROM_SUBSET = {folder: subset for subset, folder in SUBSETS.items()}


@register_dataset("avsbench-semantic")
class AVSBenchSemantic(Dataset):
    """The labels of AVSBench-semantic are the palette colours in labels_rgb, which all released readers use.

    S4 training clips are labelled in their first frame only, whatever else lies in the folder.

    Raises: AvsctlError: If metadata.csv or label2idx.json is missing or unreadable.
    """

    expected_counts: ClassVar = {
        (subset, split): count
        for subset, counts in _COUNTS.items()
        for split, count in zip(("train", "val", "test"), counts, strict=True)
    }

    def __init__(self, root: Path):
        super().__init__(root)
        self.classes = read_label2idx(root / "label2idx.json")
        self.palette = palette(len(self.classes))
        table = root / "metadata.csv"
        for line, row in read_table(table, ("vid", "uid", "a_obj", "split", "label")):
            problem = row_problem(row, ("uid",), ("vid",))
            if not problem and row["label"] not in FRAMES:
                problem = f"label {shortened(row['label'])} is none of {', '.join(FRAMES)}"
            if problem:
                self.problems.append(f"{table}, line {line}: {problem}")
                continue
            self.entries.append(_entry(row, line))
        self.problems += duplicates(table, self.entries)

    @classmethod
    def found(cls, root: Path) -> bool:
        """Whether metadata.csv lies in `root`."""
        return (root / "metadata.csv").is_file()

    def files(self, entry: Entry) -> list[Path]:
        """Frames, labels and sound."""
        folder = self.root.joinpath(*entry.place)
        return [
            *(folder / "frames" / f"{number}.jpg" for number in range(entry.frames)),
            *(folder / "labels_rgb" / f"{number}.png" for number in entry.labelled),
            folder / "audio.wav",
        ]

    def load(self, entry: Entry) -> Loaded:
        """Read a clip. Raises: BrokenClip: If a file is missing, short or broken."""
        folder = self.root.joinpath(*entry.place)
        for needed in (folder, folder / "frames", folder / "labels_rgb"):
            require_folder(needed)
        frames, labels, off_palette, present = [], [], {}, set()
        for number in range(entry.frames):
            data, size = _frame(folder / "frames", number, entry.frames)
            frames.append(data)
            if number not in entry.labelled:
                labels.append(b"")
                continue
            path = folder / "labels_rgb" / f"{number}.png"
            index, stray = read_colour_label(path, size, len(self.classes))
            labels.append(index_png(index))
            present.update(np.flatnonzero(Image.fromarray(index).histogram()).tolist())
            if stray:
                off_palette[str(path)] = stray
        sound = read_sound(folder / "audio.wav")
        record = ClipRecord(entry.uid, entry.video, entry.subset, entry.split, frames, labels, sound)
        return Loaded(record, off_palette=off_palette, present=frozenset(present))


def source_video(uid: str, vid: str, label: str) -> str:
    """The video a clip was cut from.

    In v1s and v2 it is `vid`. In v1m `vid` repeats the uid, which is the video's 11 characters and, where several
    clips come from one video, `_` and a number. Eleven characters may themselves end in `_3`; those stay whole.
    """
    match = _MIXED_UID.fullmatch(uid) if label == "v1m" else None
    return match.group(1) if match else vid


def _entry(row: dict[str, str], line: int) -> Entry:
    label, split = row["label"], row["split"]
    frames = FRAMES[label]
    first_only = (label, split) == ("v1s", "train")
    return Entry(
        uid=row["uid"],
        video=source_video(row["uid"], row["vid"], label),
        subset=_FROM_SUBSET[label],
        split=split,
        place=(label, row["uid"]),
        labelled=(0,) if first_only else tuple(range(frames)),
        frames=frames,
        # As written: real files say "off-the-screen", "background" and "h orse" here, so nothing is derived from it.
        objects=tuple(name for name in (row["a_obj"] or "").split("_") if name.strip()),
        line=line,
    )


def _frame(folder: Path, number: int, wanted: int) -> tuple[bytes, tuple[int, int]]:
    path = folder / f"{number}.jpg"
    if path.exists():
        return read_frame(path)
    there = sum((folder / f"{other}.jpg").exists() for other in range(wanted))
    raise BrokenClip(path, f"is missing: the clip has {there} of its {wanted} frames", "missing frame")
