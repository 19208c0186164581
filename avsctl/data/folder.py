"""A neutral layout for one's own clips.

```
<root>/clips.csv                    uid,split,subset,labelled_frames
<root>/classes.json                 ["background", "kettle", ...]: names in index order, 0 the background
<root>/<uid>/frames/0.jpg 1.jpg …   one picture per second (.jpg, .jpeg or .png)
<root>/<uid>/labels/0.png …         class indices, of the size of their frames
<root>/<uid>/audio.wav
```

`split` is train, val or test, `subset` a name of one's own, `labelled_frames` says `all`, `none`, or the numbers of
the labelled frames with spaces between them. A column `video`, where there is one, names the source video, so
that `--check` finds videos in two splits.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from avsctl.caches.clips import ClipRecord
from avsctl.caches.files import read_json
from avsctl.data.layouts import Dataset, Entry, Loaded, register_dataset
from avsctl.data.media import BrokenClip, index_png, read_frame, read_index_label, read_sound, require_folder
from avsctl.data.palette import palette
from avsctl.data.tables import duplicates, read_table, row_problem, shortened, whole_number
from avsctl.errors import AvsctlError
from avsctl.limits import MAX_FRAMES

PICTURES = (".jpg", ".jpeg", ".png")
MAX_CLASSES = 255


@register_dataset("folder")
class Folder(Dataset):
    """One's own clips and classes.

    Raises: AvsctlError: If clips.csv or classes.json is missing or unreadable.
    """

    command: ClassVar[str] = "avsctl prepare folder"

    def __init__(self, root: Path):
        super().__init__(root)
        self.classes = _classes(root / "classes.json")
        self.palette = palette(len(self.classes))
        table = root / "clips.csv"
        for line, row in read_table(table, ("uid", "split", "subset", "labelled_frames")):
            problem = row_problem(row, ("uid", "subset"))
            if not problem and row["subset"] == "all":
                problem = "subset 'all' means every subset; take another name"
            if not problem and not (row.get("video") or "").isprintable():
                problem = f"video {shortened(row['video'])} holds characters that can't be printed"
            if problem:
                self.problems.append(f"{table}, line {line}: {problem}")
                continue
            self._add(table, line, row)
        self.problems += duplicates(table, self.entries)

    def _add(self, table: Path, line: int, row: dict[str, str]) -> None:
        frames = max(_pictures(self.root / row["uid"] / "frames"), default=-1) + 1
        problem, labelled = "", None
        if frames > MAX_FRAMES:
            problem = f"the clip has a frame {frames - 1:,}, and {MAX_FRAMES:,} frames are the limit"
        else:
            labelled = _labelled(row["labelled_frames"] or "", frames)
        if labelled is None:
            text = shortened(row["labelled_frames"])
            problem = problem or f"labelled_frames {text} is neither all, none, nor numbers of its {frames} frames"
            self.problems.append(f"{table}, line {line}: {problem}")
            return
        uid = row["uid"]
        self.entries.append(
            Entry(uid, row.get("video") or uid, row["subset"], row["split"], (uid,), labelled, frames, line=line)
        )

    @classmethod
    def found(cls, root: Path) -> bool:
        """Whether clips.csv lies in `root`."""
        return (root / "clips.csv").is_file()

    def files(self, entry: Entry) -> list[Path]:
        """Frames, labels and sound."""
        folder = self.root / entry.uid
        frames = _pictures(folder / "frames")
        labels = [folder / "labels" / f"{number}.png" for number in entry.labelled]
        return [*(frames[number] for number in sorted(frames)), *labels, folder / "audio.wav"]

    def load(self, entry: Entry) -> Loaded:
        """Read a clip. Raises: BrokenClip: If a file is missing or broken, or a number is left out."""
        folder = self.root / entry.uid
        require_folder(folder)
        require_folder(folder / "frames")
        pictures = _pictures(folder / "frames")
        if not pictures:
            raise BrokenClip(folder / "frames", "holds no pictures 0.jpg, 1.jpg …", "no frames")
        frames, labels, present = [], [], set()
        for number in range(entry.frames):
            if number not in pictures:
                reason = f"is missing, but there is a picture {max(pictures)}"
                raise BrokenClip(folder / "frames" / f"{number}.jpg", reason, "missing frame")
            data, size = read_frame(pictures[number])
            frames.append(data)
            if number not in entry.labelled:
                labels.append(b"")
                continue
            index = read_index_label(folder / "labels" / f"{number}.png", size, len(self.classes))
            labels.append(index_png(index))
            present.update(np.unique(index).tolist())
        sound = read_sound(folder / "audio.wav")
        record = ClipRecord(entry.uid, entry.video, entry.subset, entry.split, frames, labels, sound)
        return Loaded(record, present=frozenset(present))


def _pictures(folder: Path) -> dict[int, Path]:
    """The numbered pictures in a folder."""
    if not folder.is_dir():
        return {}
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    return {number: path for path in paths if (number := whole_number(path.stem)) is not None}


def _labelled(text: str, frames: int) -> tuple[int, ...] | None:
    text = text.strip()
    if text in ("all", "none"):
        return tuple(range(frames)) if text == "all" else ()
    numbers = text.split()
    found = [whole_number(number) for number in numbers]
    chosen = tuple(sorted({number for number in found if number is not None}))
    if not numbers or None in found:
        return None
    # A clip without its frames is a broken clip, not a mistake in the table.
    return chosen if frames == 0 or chosen[-1] < frames else None


def _classes(path: Path) -> list[str]:
    names = read_json(path)
    good = isinstance(names, list) and all(isinstance(name, str) and name and name.isprintable() for name in names)
    if not good or not 2 <= len(names) <= MAX_CLASSES or len(set(names)) < len(names):
        raise AvsctlError(
            f'{path} must be a list of 2 to {MAX_CLASSES} different class names like ["background", "kettle"], '
            f"0 being the background."
        )
    return names
