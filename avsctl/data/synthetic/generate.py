"""Writes drawn clips as an AVSBench-semantic folder."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...caches.locks import sole_writer
from ...errors import AvsctlError
from ...progress import Track, silent
from ..palette import CLASS_NAMES, index_to_colours
from ..workers import spread
from .scenes import SECONDS, Scene, plan_scene, render_frames, render_sound
from .sounds import SAMPLE_RATE

SUBSETS = ("v1s", "v1m", "v2")
SPLITS = ("train", "val", "test")
GENERATOR = 1  # raise it when the same seed would give other clips
RECORD = "synthetic.json"
JPEG_QUALITY = 92
ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
DEFAULT_COUNTS: dict[tuple[str, str], int] = {
    ("v1s", "train"): 120, ("v1s", "val"): 24, ("v1s", "test"): 24,
    ("v1m", "train"): 160, ("v1m", "val"): 32, ("v1m", "test"): 48,
    ("v2", "train"): 80, ("v2", "val"): 16, ("v2", "test"): 24,
}  # fmt: skip
"""Clips per AVSBench subset and split: 528 clips, 3,240 frames."""


@dataclass(frozen=True)
class _Clip:
    """One clip to be made; everything in it follows from these values."""

    subset: str
    split: str
    number: int
    seed: int
    size: tuple[int, int]

    def rng(self, purpose: int) -> np.random.Generator:
        """Random numbers for one purpose, the same whoever asks and whenever."""
        return np.random.default_rng(
            [self.seed, SUBSETS.index(self.subset), SPLITS.index(self.split), self.number, purpose]
        )

    def scene(self) -> Scene:
        return plan_scene(self.rng(0), self.subset, self.number, self.size[0] / self.size[1])

    def row(self) -> dict[str, Any]:
        """The clip's line of metadata.csv."""
        rng = self.rng(1)
        video = "".join(rng.choice(list(ID_LETTERS), 11))
        start = int(rng.integers(0, 180))
        if self.subset == "v1m":
            vid = uid = f"{video}_{start % 30}"
            start = 0
        else:
            vid, uid = video, f"{video}_{1000 * start}_{1000 * (start + SECONDS[self.subset])}"
        return {
            "vid": vid, "uid": uid, "s_min": start // 60, "s_sec": start % 60,
            "a_obj": "_".join(self.scene().sounding_names), "split": self.split, "label": self.subset,
        }  # fmt: skip


def scaled_counts(scale: float) -> dict[tuple[str, str], int]:
    """`DEFAULT_COUNTS` times `scale`, at least two clips of each.

    Raises: AvsctlError: If scale is not positive.
    """
    if not scale > 0:
        raise AvsctlError(f"The synthetic set's scale must be above 0, got {scale}; 1 is the default set.")
    return {key: max(2, round(count * scale)) for key, count in DEFAULT_COUNTS.items()}


def generate(
    root: Path,
    *,
    clips: Mapping[tuple[str, str], int] = DEFAULT_COUNTS,
    seed: int = 0,
    size: int | tuple[int, int] = 160,
    workers: int = 1,
    track: Track = silent,
) -> Path:
    """Draw and synthesise clips into a folder laid out as AVSBench-semantic.

    A clip's content follows from the seed, the size and its number alone: workers, order and how many others
    there are change nothing in it. Clips that are already there are kept, so that a second call goes on where
    the first stopped. `metadata.csv` comes last and marks the set as complete.

    Args:
        root: folder to write; new, empty, or begun by this function with the same options.
        clips: number of clips of each ("v1s" | "v1m" | "v2", "train" | "val" | "test").
        seed: at least 0.
        size: of the frames in pixels, one number or width and height, 32 to 2048.
        workers: processes that draw; `track` shows the clips done.
    Returns: `root`.
    Raises: AvsctlError: If an option is out of range, or root holds something else.
    """
    sides = (size, size) if isinstance(size, int) else tuple(size)
    _check_options(clips, seed, sides, workers)
    width, height = sides
    root = Path(root)
    with sole_writer(root):
        return _generate(root, clips, seed, (width, height), workers, track)


def _generate(
    root: Path, clips: Mapping[tuple[str, str], int], seed: int, size: tuple[int, int], workers: int, track: Track
) -> Path:
    width, height = size
    _claim(root, {"generator": GENERATOR, "seed": seed, "size": [width, height], "clips": _by_subset(clips)})
    todo = [
        _Clip(subset, split, number, seed, (width, height))
        for subset in SUBSETS
        for split in SPLITS
        for number in range(clips.get((subset, split), 0))
    ]
    rows = _make_all(root, todo, workers, track)
    one_based = {name: i for i, name in enumerate(CLASS_NAMES, start=1)}
    _write(root / "label2idx.json", json.dumps(one_based, indent=4))
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write(root / "metadata.csv", table.getvalue())
    return root


def _check_options(clips: Mapping[tuple[str, str], int], seed: int, size: tuple[int, ...], workers: int) -> None:
    for key, count in clips.items():
        if key not in DEFAULT_COUNTS:
            raise AvsctlError(f"Synthetic clips: {key} is none; take one of {SUBSETS} and one of {SPLITS}.")
        if count < 0:
            raise AvsctlError(f"Synthetic clips: {count} of {key} cannot be made; give 0 or more.")
    if sum(clips.values()) == 0:
        raise AvsctlError("Synthetic clips: none asked for; give a number above 0.")
    if seed < 0:
        raise AvsctlError(f"Synthetic clips: the seed must be at least 0, got {seed}.")
    if len(size) != 2 or not all(32 <= side <= 2048 for side in size):
        raise AvsctlError(f"Synthetic clips: the size must be 32 to 2048 pixels a side, got {size}.")
    if workers < 1:
        raise AvsctlError(f"Synthetic clips: at least one worker is needed, got {workers}.")


def _by_subset(clips: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    return {subset: {split: clips.get((subset, split), 0) for split in SPLITS} for subset in SUBSETS}


def _claim(root: Path, config: dict[str, Any]) -> None:
    """Make the folder ours, or check that it is ours and made with the same options."""
    record = root / RECORD
    if root.exists() and not root.is_dir():
        raise AvsctlError(f"{root} is a file; give a folder for the synthetic set.")
    if record.exists():
        try:
            found = json.loads(record.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found != config:
            raise AvsctlError(
                f"{root} holds a synthetic set made with other options ({record} says which); "
                "repeat those, give another folder, or delete this one."
            )
        return
    if root.exists() and any(path.name != f"{RECORD}.part" for path in root.iterdir()):
        raise AvsctlError(f"{root} holds files that are not a synthetic set; give a new or empty folder.")
    root.mkdir(parents=True, exist_ok=True)
    _write(record, json.dumps(config, indent=2) + "\n")


def _make_all(root: Path, clips: list[_Clip], workers: int, track: Track) -> list[dict[str, Any]]:
    """Make every clip that is missing; returns the rows of metadata.csv in the order of `clips`."""
    made = spread(_Drawing(root, clips), range(len(clips)), workers)
    rows = dict(track(made, "drawing clips", len(clips)))
    return [rows[number] for number in range(len(clips))]


@dataclass(frozen=True)
class _Drawing:
    """Draws one clip; what a worker process holds."""

    root: Path
    clips: list[_Clip]

    def __call__(self, number: int) -> tuple[int, dict[str, Any]]:
        return number, _make_clip(self.root, self.clips[number])


def _make_clip(root: Path, clip: _Clip) -> dict[str, Any]:
    """Write one clip's folder under a temporary name and rename it, unless it is there already."""
    row = clip.row()
    folder = root / clip.subset / row["uid"]
    if folder.exists():
        return row
    part = folder.with_name(f".{folder.name}.part")
    if part.exists():
        shutil.rmtree(part)
    for name in ("frames", "labels_rgb", "labels_semantic"):
        (part / name).mkdir(parents=True)
    scene = clip.scene()
    for i, (frame, label) in enumerate(render_frames(scene, clip.rng(2), clip.size)):
        frame.save(part / "frames" / f"{i}.jpg", quality=JPEG_QUALITY, subsampling=0)
        if i == 0 or (clip.subset, clip.split) != ("v1s", "train"):
            Image.fromarray(index_to_colours(label)).save(part / "labels_rgb" / f"{i}.png")
            Image.fromarray(label).save(part / "labels_semantic" / f"{i}.png")
    _write_wav(part / "audio.wav", render_sound(scene, clip.rng(3)))
    part.rename(folder)
    return row


def _write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())


def _write(path: Path, text: str) -> None:
    """Write a whole file by rename."""
    part = path.with_name(path.name + ".part")
    with open(part, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
