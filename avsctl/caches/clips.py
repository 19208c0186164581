"""`clips.h5`: every clip's frames, labels and sound as their original encoded bytes, with an index.

| key | shape, type | meaning |
|---|---|---|
| clips/uid, clips/video, clips/subset, clips/split | (n,) text | `video` is the source video, shared by its clips |
| clips/first_frame | (n + 1,) int64 | clip i owns frames first_frame[i] to first_frame[i + 1] |
| clips/hash | (n,) text | hash of the clip's content |
| frames/data, frames/offset | bytes, (F + 1,) int64 | JPEG or PNG files, one after the other |
| labels/data, labels/offset | bytes, (F + 1,) int64 | 8-bit index PNGs; empty where unlabelled |
| audio/data, audio/offset | bytes, (n + 1,) int64 | wav files |
| log_mel/data | (F, 96, 64) float32 | AVSBench-object's stored log-mel, where the dataset has it |
| decoded/frames | (F, 3, S, S) uint8 | with `--cache-size S`: the frames at a model's size |
| decoded/labels, decoded/sounding | (F, 224, 224) uint8 | with it: classes (nearest), what sounds (bilinear) |
| decoded/hash | (n,) text | with it: hash of a clip's decoded frames and labels |
| attributes classes, palette | JSON | names in index order; RGB rows |
| attribute label_kind | text | `semantic`, `binary` (0 silent, 1 sounding), or `none` (not even classes are known) |
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from avsctl.caches.contents import check_array, check_bounds, read_array, read_texts
from avsctl.caches.decoded import PARTS, create_decoded, decoded_hash, read_index
from avsctl.caches.files import hash_of, hash_of_all, whole_file
from avsctl.caches.header import (
    get_text,
    header,
    mark_complete,
    new_cache,
    open_cache,
    readable,
    reopen_cache,
    set_text,
    write_header,
)
from avsctl.caches.names import plain_name
from avsctl.caches.texts import TextColumn
from avsctl.errors import AvsctlError
from avsctl.limits import MAX_FRAMES

SUBSETS = {"s4": "v1s", "ms3": "v1m", "v2": "v2"}
"""AVSBench's subsets as users call them, and as its files do."""
SPLITS = ("train", "val", "test")
COLUMNS = ("uid", "video", "subset", "split")
LABEL_KINDS = ("semantic", "binary", "none")


@dataclass(frozen=True)
class ClipRecord:
    """One clip as a reader hands it over.

    Args:
        frames: encoded pictures (JPEG or PNG files), one per second.
        labels: for each frame an 8-bit index PNG, or empty bytes where the frame is unlabelled.
        audio: a wav file's bytes.
        log_mel: (T, 96, 64) float32 or None.
    """

    uid: str
    video: str
    subset: str
    split: str
    frames: Sequence[bytes]
    labels: Sequence[bytes]
    audio: bytes
    log_mel: np.ndarray | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """The clip as flat arrays, for a shard."""
        content: dict[str, np.ndarray] = {
            "index": np.frombuffer(json.dumps([self.uid, self.video, self.subset, self.split]).encode(), np.uint8),
            "frames": np.frombuffer(b"".join(self.frames), np.uint8),
            "frame_sizes": np.array([len(frame) for frame in self.frames], np.int64),
            "labels": np.frombuffer(b"".join(self.labels), np.uint8),
            "label_sizes": np.array([len(label) for label in self.labels], np.int64),
            "audio": np.frombuffer(self.audio, np.uint8),
        }
        if self.log_mel is not None:
            content["log_mel"] = np.asarray(self.log_mel, np.float32)
        content["hash"] = np.frombuffer(hash_of(*(value.tobytes() for value in content.values())).encode(), np.uint8)
        return content


@dataclass
class _Tally:
    """Sizes found in a first pass over the shards."""

    index: tuple[TextColumn, ...] = field(default_factory=lambda: tuple(TextColumn() for _ in COLUMNS))
    hashes: TextColumn = field(default_factory=TextColumn)
    frames: array[int] = field(default_factory=lambda: array("q"))
    frame_sizes: array[int] = field(default_factory=lambda: array("q"))
    label_sizes: array[int] = field(default_factory=lambda: array("q"))
    audio_sizes: array[int] = field(default_factory=lambda: array("q"))
    log_mels: int = 0
    decoded: TextColumn = field(default_factory=TextColumn)
    decoded_shapes: list[tuple[int, ...]] = field(default_factory=list)

    def add(self, item: Mapping[str, np.ndarray]) -> None:
        for column, value in zip(self.index, json.loads(item["index"].tobytes()), strict=True):
            column.append(value.encode())
        self.hashes.append(item["hash"].tobytes())
        self.frames.append(len(item["frame_sizes"]))
        self.frame_sizes.extend(item["frame_sizes"].tolist())
        self.label_sizes.extend(item["label_sizes"].tolist())
        self.audio_sizes.append(len(item["audio"]))
        self.log_mels += "log_mel" in item
        if decoded_hash(item):
            self.decoded.append(decoded_hash(item).encode())
            self.decoded_shapes = [item[name].shape[1:] for name in PARTS]


def assemble_clips(
    path: Path,
    items: Callable[[], Iterable[Mapping[str, np.ndarray]]],
    *,
    classes: Sequence[str],
    palette: np.ndarray,
    label_kind: str,
    options: Mapping[str, Any],
) -> Path:
    """Write `clips.h5` from `ClipRecord.arrays()` items in index order.

    Args:
        items: called twice, gives all items in the same order (once for the sizes, once for the bytes).
            All or none of them have decoded frames and labels, see `decoded.PARTS`.
        palette: (len(classes), 3) uint8.
        label_kind: one of `LABEL_KINDS`.
    """
    tally = _Tally()
    for item in items():
        tally.add(item)
    groups = ["clips", "frames", "labels", "audio", "log_mel", *(["decoded"] if tally.decoded else [])]
    with whole_file(path) as part, new_cache(part, groups) as file:
        write_header(file, "clips", fingerprint=hash_of_all(tally.hashes), inputs={}, options=options)
        set_text(file, "classes", json.dumps(list(classes)))
        set_text(file, "palette", json.dumps(np.asarray(palette).tolist()))
        set_text(file, "label_kind", label_kind)
        for name, column in zip(COLUMNS, tally.index, strict=True):
            file[f"clips/{name}"] = column.array()
        file["clips/hash"] = tally.hashes.array()
        file["clips/first_frame"] = _bounds(tally.frames)
        _write_bytes(file, items(), tally)
        mark_complete(file)
    return path


def _bounds(sizes: array[int]) -> np.ndarray:
    """Where each part begins, and where the last one ends."""
    bounds = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=bounds[1:])
    return bounds


def _write_bytes(file: h5py.File, items: Iterable[Mapping[str, np.ndarray]], tally: _Tally) -> None:
    sizes = {"frames": tally.frame_sizes, "labels": tally.label_sizes, "audio": tally.audio_sizes}
    for name, lengths in sizes.items():
        file[f"{name}/offset"] = _bounds(lengths)
        file.create_dataset(f"{name}/data", (sum(lengths),), np.uint8)
    if tally.log_mels:
        file.create_dataset("log_mel/data", (sum(tally.frames), 96, 64), np.float32, fillvalue=np.nan)
    if tally.decoded:
        create_decoded(file, sum(tally.frames), tally.decoded_shapes, tally.decoded.array())
    position, bounds = dict.fromkeys(sizes, 0), file["clips/first_frame"][...]
    for number, item in enumerate(items):
        for name in sizes:
            start = position[name]
            position[name] = stop = start + len(item[name])
            file[f"{name}/data"][start:stop] = item[name]
        first, last = bounds[number : number + 2]
        if "log_mel" in item:
            file["log_mel/data"][first:last] = item["log_mel"]
        for part in PARTS if tally.decoded else ():
            file[part][first:last] = item[part]


class ClipCache:
    """Read `clips.h5`. Pickles as its path and opens the file lazily, so that worker processes may hold one.

    Raises: AvsctlError: If the file is missing, damaged or of another kind.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._file: h5py.File | None = None
        with readable(self.path, "clips"), open_cache(self.path, "clips") as file:
            self.header = header(file)
            self.fingerprint = get_text(file, "fingerprint")
            self.classes, self.palette, self.label_kind = _class_table(file)
            self.uids, self.videos, self.subsets, self.splits, self.hashes = (
                read_texts(file, f"clips/{name}") for name in (*COLUMNS, "hash")
            )
            self.position = self.uids.places()
            self._read_index(file)

    def _read_index(self, file: h5py.File) -> None:
        """Where each clip's parts lie; all of it must fit together, and no name may lead elsewhere."""
        for uid, subset, split in zip(self.uids, self.subsets, self.splits, strict=True):
            if not plain_name(uid) or not plain_name(subset) or split not in SPLITS:
                raise ValueError(f"{uid!r} of {subset!r}, {split!r} is no clip's name")
        if not self.uids or len(self.position) < len(self.uids) or len(self.hashes) != len(self.uids):
            raise ValueError("its clips are none, or not all different")
        first = read_array(file, "clips/first_frame", "iu", 1)
        frames = len(check_array(file, "frames/offset", "iu", 1)) - 1
        self.first_frame = check_bounds("clips/first_frame", first, len(self.uids), frames)
        longest = int(np.diff(self.first_frame).max())
        if longest > MAX_FRAMES:
            raise ValueError(f"a clip has {longest:,} frames, and {MAX_FRAMES:,} are the limit")
        self._offsets = {}
        for name, parts in (("frames", frames), ("labels", frames), ("audio", len(self.uids))):
            offset = read_array(file, f"{name}/offset", "iu", 1)
            whole = len(check_array(file, f"{name}/data", "u", 1))
            self._offsets[name] = check_bounds(f"{name}/offset", offset, parts, whole)
        self.has_log_mel = "log_mel/data" in file
        if self.has_log_mel and check_array(file, "log_mel/data", "f", 3).shape != (frames, 96, 64):
            raise ValueError("log_mel/data does not fit the frames")
        self.decoded_side, self.decoded_label_side, self._decoded_hashes = read_index(file, frames, len(self.uids))

    def __len__(self) -> int:
        return len(self.uids)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def frame_count(self, clip: int) -> int:
        """Frames of a clip: its length in seconds."""
        return int(self.first_frame[clip + 1] - self.first_frame[clip])

    def labelled(self, clip: int) -> np.ndarray:
        """(T,) bool: which frames have a label."""
        first, last = self.first_frame[clip : clip + 2]
        return np.diff(self._offsets["labels"][first : last + 1]) > 0

    def select(self, *, split: str | None = None, subset: str | None = None) -> list[int]:
        """Clips of a split and subset in file order; `all` or None takes every one.

        Raises: AvsctlError: If none is left.
        """
        chosen = [
            i
            for i in range(len(self))
            if split in (None, "all", self.splits[i]) and subset in (None, "all", self.subsets[i])
        ]
        if not chosen:
            held = sorted({f"{a}/{b}" for a, b in zip(self.subsets, self.splits, strict=True)})
            raise AvsctlError(
                f"{self.path} holds no clip of subset {subset or 'all'}, split {split or 'all'}. "
                f"It holds {', '.join(held)}."
            )
        return chosen

    def frame_bytes(self, clip: int) -> list[bytes]:
        """The clip's pictures as files."""
        return list(self._slices("frames", self.first_frame[clip], self.first_frame[clip + 1]))

    def label_bytes(self, clip: int) -> list[bytes]:
        """The clip's index PNGs; empty where a frame is unlabelled."""
        return list(self._slices("labels", self.first_frame[clip], self.first_frame[clip + 1]))

    def audio_bytes(self, clip: int) -> bytes:
        """The clip's wav file."""
        return next(self._slices("audio", clip, clip + 1))

    def log_mel(self, clip: int) -> np.ndarray | None:
        """(T, 96, 64) float32 stored log-mel, or None."""
        if not self.has_log_mel:
            return None
        with readable(self.path, "clips"):
            values = self._open()["log_mel/data"][self.first_frame[clip] : self.first_frame[clip + 1]]
        return None if np.isnan(values).any() else values

    def decoded_frames(self, clip: int, seconds: Sequence[int]) -> np.ndarray:
        """Some decoded frames of a clip, (len(seconds), 3, S, S) uint8, where `decoded_side` S is not 0."""
        if list(seconds) == list(range(self.frame_count(clip))):
            return self._decoded(PARTS[0], clip)
        with readable(self.path, "clips"):
            frames = self._open()[PARTS[0]]
            return np.stack([frames[self.first_frame[clip] + second] for second in seconds])

    def decoded_labels(self, clip: int, *, sounding: bool) -> np.ndarray:
        """Decoded labels of a clip, (T, s, s) uint8 with s = `decoded_label_side`; 255 where a frame has none.

        Args:
            sounding: 1 where it sounds and 0 elsewhere, shrunk bilinearly, instead of class indices.
        """
        return self._decoded(PARTS[2] if sounding else PARTS[1], clip)

    def _decoded(self, name: str, clip: int) -> np.ndarray:
        with readable(self.path, "clips"):
            return self._open()[name][self.first_frame[clip] : self.first_frame[clip + 1]]

    def item(self, clip: int) -> dict[str, np.ndarray]:
        """A clip by its place, as `assemble_clips` takes it."""
        whole = self._record(clip).arrays()
        if self.decoded_side:
            whole |= {name: self._decoded(name, clip) for name in PARTS}
        return whole

    def _record(self, clip: int) -> ClipRecord:
        return ClipRecord(
            uid=self.uids[clip],
            video=self.videos[clip],
            subset=self.subsets[clip],
            split=self.splits[clip],
            frames=self.frame_bytes(clip),
            labels=self.label_bytes(clip),
            audio=self.audio_bytes(clip),
            log_mel=self.log_mel(clip),
        )

    def verify(self, clip: int) -> bool:
        """Whether a clip's bytes are still those that were written."""
        return self.matches(clip, self.item(clip))

    def matches(self, clip: int, item: Mapping[str, np.ndarray]) -> bool:
        """Whether what was read of a clip is what was written."""
        same = item["hash"].tobytes().decode() == self.hashes[clip]
        return same and (not self.decoded_side or decoded_hash(item) == self._decoded_hashes[clip])

    def _open(self) -> h5py.File:
        if self._file is None:
            self._file = reopen_cache(self.path, "clips", self.fingerprint)
        return self._file

    def _slices(self, name: str, first: int, last: int) -> Iterator[bytes]:
        offset = self._offsets[name][first : last + 1]
        with readable(self.path, "clips"):
            data = self._open()[f"{name}/data"][offset[0] : offset[-1]].tobytes()
        for start, stop in zip(offset[:-1] - offset[0], offset[1:] - offset[0], strict=True):
            yield data[start:stop]


def _class_table(file: h5py.File) -> tuple[list[str], np.ndarray, str]:
    """Names of the classes, their (n, 3) uint8 colours, and the kind of the labels."""
    classes, kind = json.loads(get_text(file, "classes")), get_text(file, "label_kind")
    palette = np.asarray(json.loads(get_text(file, "palette")))
    if not isinstance(classes, list) or not all(isinstance(name, str) and name.isprintable() for name in classes):
        raise ValueError("its classes are no list of names")
    if palette.shape != (len(classes), 3) or palette.dtype.kind != "i" or ((palette < 0) | (palette > 255)).any():
        raise ValueError(f"its palette is no list of {len(classes)} colours")
    fewest = 1 if kind == "none" else 2
    if not fewest <= len(classes) <= 255 or kind not in LABEL_KINDS:
        raise ValueError(f"it has {len(classes)} classes and {kind!r} labels")
    return classes, palette.astype(np.uint8), kind
