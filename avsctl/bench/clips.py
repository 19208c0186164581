"""Clips to read: a few that are drawn, under as many names as an item needs."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.data.layouts import open_dataset
from avsctl.data.synthetic.generate import generate
from avsctl.stages.extract_audio import extract_audio
from avsctl.stages.prepare import prepare

SUBSET = "v1s"
"""S4 in AVSBench's files: five frames each, of which training labels the first."""


def draw_clips(root: Path, count: int, size: int | tuple[int, int], *, split: str = "test") -> Path:
    """A folder laid out as AVSBench-semantic with S4-like clips of one split."""
    return generate(root, clips={(SUBSET, split): count}, size=size)


def repeat_clips(drawn: Path, root: Path, count: int) -> Path:
    """A folder of `count` clips whose files are those of the drawn ones, in turn, by hard links where there can be."""
    with (drawn / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    root.mkdir()
    shutil.copy(drawn / "label2idx.json", root)
    repeated = []
    for number in range(count):
        row = rows[number % len(rows)]
        again = number // len(rows)
        uid = f"{row['vid']}_{again}000_{again + 5}000"
        shutil.copytree(drawn / SUBSET / row["uid"], root / SUBSET / uid, copy_function=_link)
        repeated.append({**row, "uid": uid, "s_min": again // 60, "s_sec": again % 60})
    with (root / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(repeated)
    return root


def read_clips(root: Path, folder: Path) -> tuple[ClipCache, AudioCache]:
    """`clips.h5` and `audio.h5` of a dataset, with logmel's embeddings."""
    clips = prepare(open_dataset(root), folder / "clips.h5", workers=1)
    return ClipCache(clips), AudioCache(extract_audio(clips, folder / "audio.h5", workers=1))


def _link(source: str, target: str) -> None:
    try:
        Path(target).hardlink_to(source)
    except OSError:  # this disk has none
        shutil.copyfile(source, target)
