"""AVSBench-object: `Single-source` (S4) and `Multi-sources` (MS3) with frames, binary masks, wav and log-mel."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from avsctl.caches.clips import ClipRecord
from avsctl.data.avsbench_semantic import AVSBenchSemantic, source_video
from avsctl.data.entries import Entries, Entry
from avsctl.data.layouts import Dataset, Loaded, register_dataset
from avsctl.data.media import BrokenClip, index_png, read_file, read_frame, read_mask, read_sound, require_folder
from avsctl.data.palette import palette
from avsctl.data.pickles import load_tensor
from avsctl.data.tables import duplicates, read_table, row_problem, shortened, whole_number

FRAMES = 5
S4_TABLE = Path("Single-source/s4_meta_data.csv")
MS3_TABLE = Path("Multi-sources/ms3_meta_data.csv")


@register_dataset("avsbench-object")
class AVSBenchObject(Dataset):
    """Labels are binary; S4 training clips have one for their first frame only. One half may be missing.

    S4 clips get the uid that AVSBench-semantic gives them, `<name>_<start ms>_<end ms>`, so that priors made from
    one layout fit the other. Sound is the wav file, the stored log-mel, or both.

    Raises: AvsctlError: If a csv file is unreadable.
    """

    label_kind = "binary"
    expected_counts: ClassVar = {key: n for key, n in AVSBenchSemantic.expected_counts.items() if key[0] != "v2"}

    def __init__(self, root: Path):
        super().__init__(root)
        self.classes = ["background", "sounding"]
        self.palette = palette(2)
        for table, columns in ((S4_TABLE, ("name", "start", "category", "split")), (MS3_TABLE, ("video_id", "split"))):
            if (root / table).exists():
                self._read(root / table, columns)

    def _read(self, table: Path, columns: tuple[str, ...]) -> None:
        entries = Entries()
        names = tuple(name for name in columns if name in ("name", "category", "video_id"))
        for line, row in read_table(table, columns):
            problem = row_problem(row, names)
            if not problem and "start" in columns and whole_number(row["start"]) is None:
                problem = f"start {shortened(row['start'])} is no number of seconds"
            if problem:
                self.problems.append(f"{table}, line {line}: {problem}")
                continue
            entries.append(_s4_entry(row, line) if "start" in columns else _ms3_entry(row, line))
        self.entries.extend(entries)
        self.problems += duplicates(table, entries)

    @classmethod
    def found(cls, root: Path) -> bool:
        """Whether one of the two csv files lies in its place."""
        return (root / S4_TABLE).is_file() or (root / MS3_TABLE).is_file()

    def files(self, entry: Entry) -> list[Path]:
        """Frames, masks, and whichever of wav and log-mel there is."""
        return [
            *(self._frame(entry, number) for number in range(entry.frames)),
            *(self._mask(entry, number) for number in entry.labelled),
            self._sound(entry, "audio_wav", "wav"),
            self._sound(entry, "audio_log_mel", "pkl"),
        ]

    def load(self, entry: Entry) -> Loaded:
        """Read a clip. Raises: BrokenClip: If a file is missing, short or broken, or if it has no sound at all."""
        require_folder(self._frame(entry, 0).parent)
        frames, labels, greys, present = [], [], [], set()
        for number in range(entry.frames):
            data, size = read_frame(self._frame(entry, number))
            frames.append(data)
            if number not in entry.labelled:
                labels.append(b"")
                continue
            path = self._mask(entry, number)
            mask, grey = read_mask(path, size)
            labels.append(index_png(mask))
            present.update(np.unique(mask).tolist())
            greys += [str(path)] if grey else []
        wav, pickled = self._sound(entry, "audio_wav", "wav"), self._sound(entry, "audio_log_mel", "pkl")
        log_mel = _log_mel(pickled, entry.frames) if pickled.exists() else None
        sound = read_sound(wav) if wav.exists() or log_mel is None else b""
        record = ClipRecord(entry.uid, entry.video, entry.subset, entry.split, frames, labels, sound, log_mel)
        return Loaded(record, greys=greys, present=frozenset(present))

    def _frame(self, entry: Entry, number: int) -> Path:
        if entry.subset == "s4":
            category, name = entry.place
            folder = self.root / "Single-source/s4_data/visual_frames" / entry.split / category / name
            return folder / f"{name}_{number + 1}.png"
        (name,) = entry.place
        return self.root / "Multi-sources/ms3_data/visual_frames" / name / f"{name}.mp4_{number + 1}.png"

    def _mask(self, entry: Entry, number: int) -> Path:
        name = entry.place[-1]
        return self._by_split(entry, "gt_masks") / name / f"{name}_{number + 1}.png"

    def _sound(self, entry: Entry, kind: str, suffix: str) -> Path:
        return self._by_split(entry, kind) / f"{entry.place[-1]}.{suffix}"

    def _by_split(self, entry: Entry, kind: str) -> Path:
        half = "Single-source/s4_data" if entry.subset == "s4" else "Multi-sources/ms3_data"
        return self.root.joinpath(half, kind, entry.split, *entry.place[:-1])


def _s4_entry(row: dict[str, str], line: int) -> Entry:
    start = whole_number(row["start"]) or 0
    return Entry(
        uid=f"{row['name']}_{1000 * start}_{1000 * (start + FRAMES)}",
        video=row["name"],
        subset="s4",
        split=row["split"],
        place=(row["category"], row["name"]),
        labelled=(0,) if row["split"] == "train" else tuple(range(FRAMES)),
        frames=FRAMES,
        line=line,
    )


def _ms3_entry(row: dict[str, str], line: int) -> Entry:
    name = row["video_id"]
    return Entry(
        uid=name,
        video=source_video(name, name, "v1m"),
        subset="ms3",
        split=row["split"],
        place=(name,),
        labelled=tuple(range(FRAMES)),
        frames=FRAMES,
        line=line,
    )


def _log_mel(path: Path, frames: int) -> np.ndarray:
    data = read_file(path, "log-mel")
    try:
        values = load_tensor(data)
    except ValueError as error:
        raise BrokenClip(path, f"is refused: {error}", "broken log-mel") from None
    if values.shape != (frames, 1, 96, 64):
        raise BrokenClip(path, f"has the shape {values.shape}, not {(frames, 1, 96, 64)}", "broken log-mel")
    if not np.isfinite(values).all():
        raise BrokenClip(path, "holds values that are not numbers (NaN or infinite)", "broken log-mel")
    return values[:, 0].astype(np.float32)
