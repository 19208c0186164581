"""`features/*.h5`: the maps that a frozen backbone gives of the frames of one split.

| key | shape, type | meaning |
|---|---|---|
| clips/uid, clips/first_row | (n,) text, (n + 1,) int64 | clip i owns rows first_row[i] to first_row[i + 1] |
| frame | (R,) int32 | which frame of its clip a row belongs to, ascending in a clip |
| features/<stride> | (R, C, h, w) float16 or float32, a checksum per row | map of stride 4, 8, 16 or 32 |
| attributes options | JSON | backbone (hash of its weights), image_size, strides, frames, precision |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from avsctl.caches.contents import check_array, check_bounds, read_array, read_texts
from avsctl.caches.files import hash_of, whole_file
from avsctl.caches.header import (
    get_text,
    header,
    mark_complete,
    new_cache,
    open_cache,
    readable,
    reopen_cache,
    write_header,
)
from avsctl.caches.texts import packed
from avsctl.errors import AvsctlError


def assemble_features(
    path: Path,
    items: Iterable[Mapping[str, np.ndarray]],
    *,
    uids: Sequence[str],
    frames: Sequence[Sequence[int]],
    shapes: Mapping[int, tuple[int, int, int]],
    inputs: Mapping[str, str],
    options: Mapping[str, Any],
) -> Path:
    """Write a feature cache in one pass.

    Args:
        items: for each clip its maps by stride, `{"4": (rows, C, h, w), …}`, in the order of `uids`.
        frames: the frames of each clip that have a row.
        shapes: (C, h, w) of a map by stride.
    """
    first_row = np.cumsum([0, *(len(shown) for shown in frames)])
    kind = {"fp16": np.float16, "fp32": np.float32}[options["precision"]]
    with whole_file(path) as part, new_cache(part, ["clips", "features"]) as file:
        file["clips/uid"] = packed(uids)
        file["clips/first_row"] = first_row
        file["frame"] = np.array([frame for shown in frames for frame in shown], np.int32)
        maps = {
            str(stride): file.create_dataset(
                f"features/{stride}", (int(first_row[-1]), *shape), kind, chunks=(1, *shape), fletcher32=True
            )
            for stride, shape in shapes.items()
        }
        hashes = []
        for row, item in zip(first_row, items, strict=False):
            hashes += [hash_of(item[stride].tobytes()) for stride in maps]
            for stride, dataset in maps.items():
                dataset[row : row + len(item[stride])] = item[stride]
        write_header(file, "features", fingerprint=hash_of(*hashes), inputs=inputs, options=options)
        mark_complete(file)
    return path


class FeatureCache:
    """Read a feature cache. Pickles as its path and opens the file lazily, like `ClipCache`.

    Raises: AvsctlError: If the file is missing, damaged or of another kind.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._file: h5py.File | None = None
        with readable(self.path, "features"), open_cache(self.path, "features") as file:
            self.header = header(file)
            self.fingerprint = get_text(file, "fingerprint")
            self.strides: list[int] = self.header["options"]["strides"]
            uids = read_texts(file, "clips/uid")
            self._frame = read_array(file, "frame", "iu", 1)
            first = read_array(file, "clips/first_row", "iu", 1)
            self._first_row = check_bounds("clips/first_row", first, len(uids), len(self._frame))
            for stride in self.strides:
                if len(check_array(file, f"features/{stride}", "f", 4)) != len(self._frame):
                    raise ValueError(f"features/{stride} does not have {len(self._frame)} rows")
        self._position = uids.places()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def maps(self, uid: str, frames: Sequence[int]) -> list[np.ndarray]:
        """Maps of some frames of a clip, by stride, the finest first: each (len(frames), C, h, w) as stored.

        Raises: AvsctlError: If a frame is not in the cache, or its bytes are no longer what was written.
        """
        clip = self._position.get(uid)
        if clip is None:
            raise AvsctlError(f"{self.path} has no clip {uid}. Delete it and run the same command again.")
        rows = range(self._first_row[clip], self._first_row[clip + 1])
        row_of = {int(self._frame[row]): row for row in rows}
        if not row_of.keys() >= set(frames):
            raise AvsctlError(f"{self.path} lacks frames of clip {uid}. Delete it and run the same command again.")
        if self._file is None:
            self._file = reopen_cache(self.path, "features", self.fingerprint)
        wanted = sorted({row_of[frame] for frame in frames})
        place = [wanted.index(row_of[frame]) for frame in frames]
        try:
            return [self._file[f"features/{stride}"][wanted][place] for stride in self.strides]
        except OSError as error:
            raise AvsctlError(
                f"{self.path} is damaged at clip {uid} ({error}). Delete it and run the same command again: it goes on."
            ) from None
