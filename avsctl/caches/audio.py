"""`audio.h5`: one audio embedding per frame of `clips.h5`.

| key | shape, type | meaning |
|---|---|---|
| clips/uid, clips/first_frame | (n,) text, (n + 1,) int64 | clip i owns rows first_frame[i] to first_frame[i + 1] |
| clips/hash | (n,) text | hash of the clip's name and rows |
| embedding | (F, D) float32 | one row per frame; VGGish before its last ReLU (signed) |
| attributes encoder, dim | text, int | `vggish`, `logmel` or `yamnet`; D |
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from avsctl.caches.contents import check_array, check_bounds, read_array, read_texts
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
from avsctl.caches.integrity import clip_hashes
from avsctl.caches.texts import TextColumn, packed
from avsctl.errors import AvsctlError

ROWS_AT_ONCE = 4096
"""Read together when all are looked at."""


def assemble_audio(
    path: Path,
    items: Callable[[], Iterable[Mapping[str, np.ndarray]]],
    *,
    uids: Sequence[str],
    encoder: str,
    inputs: Mapping[str, str],
    options: Mapping[str, Any],
) -> Path:
    """Write `audio.h5` from items `{"embedding": (T, D) float32}` in the order of `uids`.

    Args:
        items: called twice, gives all items in the same order.
    """
    bounds, hashes, dim = array("q", [0]), TextColumn(), 0

    def contents() -> Iterator[bytes]:
        nonlocal dim
        for uid, item in zip(uids, items(), strict=True):
            rows, dim = item["embedding"], item["embedding"].shape[1]
            bounds.append(bounds[-1] + len(rows))
            hashes.append(_hash(uid, rows).encode())
            yield rows.tobytes()

    fingerprint = hash_of_all(contents())
    first_frame = np.array(bounds)
    with whole_file(path) as part, new_cache(part, ["clips"]) as file:
        write_header(file, "audio", fingerprint=fingerprint, inputs=inputs, options=options)
        set_text(file, "encoder", encoder)
        file.attrs["dim"] = dim
        file["clips/uid"] = packed(uids)
        file["clips/first_frame"] = first_frame
        file["clips/hash"] = hashes.array()
        embedding = file.create_dataset("embedding", (int(first_frame[-1]), dim), np.float32)
        for first, item in zip(first_frame, items(), strict=False):
            embedding[first : first + len(item["embedding"])] = item["embedding"]
        mark_complete(file)
    return path


def _hash(uid: str, rows: np.ndarray) -> str:
    return hash_of(uid, rows.astype(np.float32).tobytes())


class AudioCache:
    """Read `audio.h5`. Pickles as its path and opens the file lazily, like `ClipCache`.

    Args:
        damaged: read it also where it holds NaN or infinite numbers, to mend it.
    Raises: AvsctlError: If the file is missing, damaged or of another kind, or holds NaN or infinite numbers.
    """

    def __init__(self, path: Path, *, damaged: bool = False):
        self.path = Path(path)
        self._file: h5py.File | None = None
        with readable(self.path, "audio"), open_cache(self.path, "audio") as file:
            self.header = header(file)
            self.fingerprint = get_text(file, "fingerprint")
            self.encoder = get_text(file, "encoder")
            self.dim = int(file.attrs["dim"])
            self.uids = uids = read_texts(file, "clips/uid")
            self._hashes = read_texts(file, "clips/hash") if "clips/hash" in file else []
            embedding = check_array(file, "embedding", "f", 2)
            first = read_array(file, "clips/first_frame", "iu", 1)
            self._first_frame = check_bounds("clips/first_frame", first, len(uids), len(embedding))
            if embedding.shape[1] != self.dim or self.dim < 1:
                raise ValueError(f"embedding has {embedding.shape[1]} numbers a frame, not {self.dim}")
            wrong = np.empty(0, np.intp) if damaged else _rows_without_numbers(embedding)
        self._position = uids.places()
        if len(wrong):
            uid = uids[int(np.searchsorted(self._first_frame, wrong[0], side="right")) - 1]
            raise AvsctlError(
                f"{self.path} holds NaN or infinite numbers in {len(wrong):,} frames, the first of clip {uid}. "
                f"Make it again with 'avsctl extract-audio --overwrite'."
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __len__(self) -> int:
        return len(self.uids)

    @property
    def rows(self) -> int:
        """Number of embeddings: frames of all clips."""
        return int(self._first_frame[-1])

    def embedding(self, uid: str) -> np.ndarray:
        """(T, D) float32 of a clip.

        Raises: AvsctlError: If the clip is not in the cache.
        """
        position = self._position.get(uid)
        if position is None:
            raise AvsctlError(f"{self.path} has no clip {uid}. Run 'avsctl extract-audio --overwrite' on these clips.")
        return self.item(position)["embedding"]

    def item(self, clip: int) -> dict[str, np.ndarray]:
        """A clip by its place, as `assemble_audio` takes it."""
        if self._file is None:
            self._file = reopen_cache(self.path, "audio", self.fingerprint)
        with readable(self.path, "audio"):
            return {"embedding": self._file["embedding"][self._first_frame[clip] : self._first_frame[clip + 1]]}

    def verify(self, clip: int) -> bool:
        """Whether a clip's numbers are still those that were written.

        Raises: AvsctlError: If the cache has no checksums.
        """
        return self.matches(clip, self.item(clip))

    def matches(self, clip: int, item: Mapping[str, np.ndarray]) -> bool:
        """Whether what was read of a clip is what was written. Raises: AvsctlError: As `verify`."""
        return _hash(self.uids[clip], item["embedding"]) == clip_hashes(self._hashes, self.path)[clip]


def _rows_without_numbers(embedding: h5py.Dataset) -> np.ndarray:
    """Rows that hold NaN or infinite numbers, found piece by piece."""
    wrong = [np.empty(0, np.int64)]
    for start in range(0, len(embedding), ROWS_AT_ONCE):
        part = embedding[start : start + ROWS_AT_ONCE]
        wrong.append(start + np.flatnonzero(~np.isfinite(part).all(axis=1)))
    return np.concatenate(wrong)
