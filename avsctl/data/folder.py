"""A neutral layout for one's own clips.

```
<root>/clips.csv                    uid,split,subset,labelled_frames
<root>/classes.json                 ["background", "kettle", ...]: names in index order, 0 the background
<root>/<uid>/frames/0.jpg 1.jpg …   one picture per second (.jpg, .jpeg or .png)
<root>/<uid>/audio.wav
<root>/<uid>/labels/0.png …         class indices, of the size of their frames
```

A video `<root>/<uid>.mp4` (or of another kind) may stand for `frames` and `audio.wav`; the picture of a second is the
first one shown at or after its beginning. A COCO file may stand for `labels`, see `avsctl.data.coco`; without
`classes.json` its categories are the classes.

`split` is train, val or test, `subset` a name of one's own. `labelled_frames` says `all`, `none`, or the numbers of
the labelled frames with spaces between them; where there is no such column, the frames with a label are. A column
`video`, where there is one, names the source video, so that `--check` finds videos in two splits. Where no frame
has a label and there is no `classes.json`, the clips have no classes: their `label_kind` is `none`.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from avsctl.caches.clips import ClipRecord
from avsctl.caches.files import hash_of, read_json
from avsctl.data.coco import BACKGROUND, CocoMasks
from avsctl.data.entries import Entry
from avsctl.data.layouts import Dataset, Loaded, register_dataset
from avsctl.data.media import BrokenClip, index_png, read_frame, read_index_label, read_sound, require_folder
from avsctl.data.palette import palette
from avsctl.data.tables import duplicates, read_table, row_problem, shortened, whole_number
from avsctl.data.video_files import VIDEO_SUFFIXES
from avsctl.errors import AvsctlError
from avsctl.limits import MAX_FRAMES

PICTURES = (".jpg", ".jpeg", ".png")
MAX_CLASSES = 255


@register_dataset("folder")
class Folder(Dataset):
    """One's own clips and classes.

    Args:
        coco: a COCO file with the labels, instead of `labels` folders.
    Raises: AvsctlError: If clips.csv, classes.json or the COCO file is missing or unreadable.
    """

    command: ClassVar[str] = "avsctl prepare folder"

    def __init__(self, root: Path, *, coco: Path | None = None):
        super().__init__(root)
        table = root / "clips.csv"
        rows = list(read_table(table, ("uid", "split", "subset")))
        self._coco = None if coco is None else CocoMasks(coco, {row["uid"] for _, row in rows if row["uid"]})
        self._videos = _videos_in(root)
        for line, row in rows:
            problem = row_problem(row, ("uid", "subset"))
            if not problem and row["subset"] == "all":
                problem = "subset 'all' means every subset; take another name"
            if not problem and not (row.get("video") or "").isprintable():
                problem = f"video {shortened(row['video'])} holds characters that can't be printed"
            problem = problem or self._add(line, row)
            if problem:
                self.problems.append(f"{table}, line {line}: {problem}")
        self.problems += duplicates(table, self.entries)
        self.classes = self._find_classes()
        self.palette = palette(len(self.classes))

    def _add(self, line: int, row: dict[str, str]) -> str:
        """Take a row as an entry; says what is wrong with it instead."""
        uid = row["uid"]
        frames = self._count_frames(uid)
        if frames > MAX_FRAMES:
            return f"the clip has a frame {frames - 1:,}, and {MAX_FRAMES:,} frames are the limit"
        if "labelled_frames" in row:
            labelled = _labelled(row["labelled_frames"] or "", frames)
        else:
            labelled = self._found_labels(uid)
        if labelled is None:
            text = shortened(row["labelled_frames"])
            return f"labelled_frames {text} is neither all, none, nor numbers of its {frames} frames"
        if frames and labelled and labelled[-1] >= frames:
            return f"{uid} has a label of second {labelled[-1]}, but its last second is {frames - 1}"
        video = row.get("video") or uid
        self.entries.append(Entry(uid, video, row["subset"], row["split"], (uid,), labelled, frames, line=line))
        return ""

    def _count_frames(self, uid: str) -> int:
        """Seconds of a clip; 0 where that is unknown, which loading it explains."""
        video = self._video(uid)
        if video is None:
            return max(_pictures(self.root / uid / "frames"), default=-1) + 1
        from avsctl.data.video_clips import seconds_in
        from avsctl.rendering.video import open_video

        try:
            return seconds_in(open_video(video))
        except AvsctlError:
            return 0

    def _video(self, uid: str) -> Path | None:
        """The video that stands for a clip's frames and sound."""
        return None if (self.root / uid / "frames").is_dir() else self._videos.get(uid)

    def _found_labels(self, uid: str) -> tuple[int, ...]:
        if self._coco:
            return self._coco.labelled(uid)
        return tuple(sorted(_pictures(self.root / uid / "labels", (".png",))))

    def _find_classes(self) -> list[str]:
        path = self.root / "classes.json"
        if self._coco is None:
            if path.exists() or any(entry.labelled for entry in self.entries):
                return _classes(path)
            self.label_kind = "none"
            return [BACKGROUND]
        if not path.exists():
            return self._coco.names
        names = _classes(path)
        unknown = [name for name in self._coco.names[1:] if name not in names[1:]]
        if unknown:
            raise AvsctlError(f"{self._coco.path} has a category {unknown[0]}, which {path} lacks. Add it there.")
        return names

    @classmethod
    def found(cls, root: Path) -> bool:
        """Whether clips.csv lies in `root`."""
        return (root / "clips.csv").is_file()

    def files(self, entry: Entry) -> list[Path]:
        """Frames, labels and sound."""
        folder, video = self.root / entry.uid, self._video(entry.uid)
        labels = [] if self._coco else [folder / "labels" / f"{number}.png" for number in entry.labelled]
        if video:
            return [video, *labels]
        frames = _pictures(folder / "frames")
        return [*(frames[number] for number in sorted(frames)), *labels, folder / "audio.wav"]

    def listing(self, entry: Entry, *, times: bool = False) -> str:
        """As for every dataset; what a COCO file says of the clip is part of it."""
        plain = super().listing(entry, times=times)
        return plain if self._coco is None else hash_of(plain, self._coco.fingerprint(entry.uid))

    def load(self, entry: Entry) -> Loaded:
        """Read a clip. Raises: BrokenClip: If a file is missing or broken, or a number is left out."""
        frames, sizes, sound = self._read_video(entry) if self._video(entry.uid) else self._read_files(entry)
        labels, present = [], set()
        for number in range(entry.frames):
            if number not in entry.labelled:
                labels.append(b"")
                continue
            index = self._read_label(entry.uid, number, sizes[number])
            labels.append(index_png(index))
            present.update(np.unique(index).tolist())
        record = ClipRecord(entry.uid, entry.video, entry.subset, entry.split, frames, labels, sound)
        return Loaded(record, present=frozenset(present))

    def _read_files(self, entry: Entry) -> tuple[list[bytes], list[tuple[int, int]], bytes]:
        folder = self.root / entry.uid
        require_folder(folder)
        require_folder(folder / "frames")
        pictures = _pictures(folder / "frames")
        if not pictures:
            raise BrokenClip(folder / "frames", "holds no pictures 0.jpg, 1.jpg …", "no frames")
        frames, sizes = [], []
        for number in range(entry.frames):
            if number not in pictures:
                reason = f"is missing, but there is a picture {max(pictures)}"
                raise BrokenClip(folder / "frames" / f"{number}.jpg", reason, "missing frame")
            data, size = read_frame(pictures[number])
            frames.append(data)
            sizes.append(size)
        return frames, sizes, read_sound(folder / "audio.wav")

    def _read_video(self, entry: Entry) -> tuple[list[bytes], list[tuple[int, int]], bytes]:
        from avsctl.data.video_clips import read_clips
        from avsctl.rendering.video import open_video

        video = self._videos[entry.uid]
        try:
            info = open_video(video)
            clips = list(read_clips(info))
        except AvsctlError as error:
            raise BrokenClip(video, f"can't be read ({error})", "broken video") from None
        if not clips or len(clips[0].frames) != entry.frames:
            raise BrokenClip(video, "has no frames that can be decoded", "broken video")
        (clip,) = clips
        return clip.frames, [(info.width, info.height)] * len(clip.frames), clip.audio

    def _read_label(self, uid: str, number: int, size: tuple[int, int]) -> np.ndarray:
        if self._coco is None:
            return read_index_label(self.root / uid / "labels" / f"{number}.png", size, len(self.classes))
        if number not in self._coco.labelled(uid):
            raise BrokenClip(self._coco.path, f"lists no image of second {number} of {uid}", "missing label")
        return self._coco.label(uid, number, size, self.classes)


def _videos_in(root: Path) -> dict[str, Path]:
    """The videos beside the clips' folders, by stem."""
    return {path.stem: path for path in sorted(root.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES}


def _pictures(folder: Path, endings: tuple[str, ...] = PICTURES) -> dict[int, Path]:
    """The numbered pictures in a folder."""
    if not folder.is_dir():
        return {}
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in endings)
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
