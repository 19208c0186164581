"""`audio.h5`: one audio embedding per frame of `clips.h5`.

| key | shape, type | meaning |
|---|---|---|
| clips/uid, clips/first_frame | (n,) text, (n + 1,) int64 | clip i owns rows first_frame[i] to first_frame[i + 1] |
| clips/hash | (n,) text | hash of the clip's name and rows |
| embedding | (F, D) float32 | one row per frame; VGGish before its last ReLU (signed) |
| attributes encoder, dim | text, int | `vggish`, `logmel` or `yamnet`; D |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avsctl.caches.contents import check_bounds, read_array, read_texts
from avsctl.caches.files import hash_of, whole_file
from avsctl.caches.header import (
    get_text,
    header,
    mark_complete,
    new_cache,
    open_cache,
    readable,
    set_text,
    write_header,
)
from avsctl.caches.integrity import clip_hashes
from avsctl.errors import AvsctlError


def assemble_audio(
    path: Path,
    items: Callable[[], Iterable[Mapping[str, np.ndarray]]],
    *,
    uids: Sequence[str],
    encoder: str,
    inputs: Mapping[str, str],
    options: Mapping[str, Any],
) -> Path:
    """Write `audio.h5` from items `{"embedding": (T, D) float32}` in the order of `uids`."""
    rows = [item["embedding"] for item in items()]  # 86,780 rows of 128 numbers are 44 MB
    embedding = np.concatenate(rows).astype(np.float32)
    with whole_file(path) as part, new_cache(part, ["clips"]) as file:
        fingerprint = hash_of(*(row.tobytes() for row in rows))
        write_header(file, "audio", fingerprint=fingerprint, inputs=inputs, options=options)
        set_text(file, "encoder", encoder)
        file.attrs["dim"] = embedding.shape[1]
        file["clips/uid"] = np.array([uid.encode() for uid in uids], dtype="S")
        file["clips/first_frame"] = np.cumsum([0, *(len(row) for row in rows)])
        hashes = [_hash(uid, row) for uid, row in zip(uids, rows, strict=True)]
        file["clips/hash"] = np.array([value.encode() for value in hashes], dtype="S")
        file["embedding"] = embedding
        mark_complete(file)
    return path


def _hash(uid: str, rows: np.ndarray) -> str:
    return hash_of(uid, rows.astype(np.float32).tobytes())


class AudioCache:
    """Read `audio.h5`; the embeddings are held in memory.

    Args:
        damaged: read it also where it holds NaN or infinite numbers, to mend it.
    Raises: AvsctlError: If the file is missing, damaged or of another kind, or holds NaN or infinite numbers.
    """

    def __init__(self, path: Path, *, damaged: bool = False):
        self.path = Path(path)
        with readable(self.path, "audio"), open_cache(self.path, "audio") as file:
            self.header = header(file)
            self.fingerprint = get_text(file, "fingerprint")
            self.encoder = get_text(file, "encoder")
            self.dim = int(file.attrs["dim"])
            self.uids = uids = read_texts(file, "clips/uid")
            self._hashes = read_texts(file, "clips/hash") if "clips/hash" in file else []
            self._embedding = read_array(file, "embedding", "f", 2)
            first = read_array(file, "clips/first_frame", "iu", 1)
            self._first_frame = check_bounds("clips/first_frame", first, len(uids), len(self._embedding))
            if self._embedding.shape[1] != self.dim or self.dim < 1:
                raise ValueError(f"embedding has {self._embedding.shape[1]} numbers a frame, not {self.dim}")
        self._position = {uid: i for i, uid in enumerate(uids)}
        if not damaged:
            self._check_numbers(uids)

    def _check_numbers(self, uids: Sequence[str]) -> None:
        wrong = np.flatnonzero(~np.isfinite(self._embedding).all(axis=1))
        if len(wrong):
            uid = uids[int(np.searchsorted(self._first_frame, wrong[0], side="right")) - 1]
            raise AvsctlError(
                f"{self.path} holds NaN or infinite numbers in {len(wrong):,} frames, the first of clip {uid}. "
                f"Make it again with 'avsctl extract-audio --overwrite'."
            )

    def __len__(self) -> int:
        return len(self.uids)

    @property
    def rows(self) -> int:
        """Number of embeddings: frames of all clips."""
        return len(self._embedding)

    def embedding(self, uid: str) -> np.ndarray:
        """(T, D) float32 of a clip.

        Raises: AvsctlError: If the clip is not in the cache.
        """
        position = self._position.get(uid)
        if position is None:
            raise AvsctlError(f"{self.path} has no clip {uid}. Run 'avsctl extract-audio --overwrite' on these clips.")
        return self._embedding[self._first_frame[position] : self._first_frame[position + 1]]

    def item(self, clip: int) -> dict[str, np.ndarray]:
        """A clip by its place, as `assemble_audio` takes it."""
        return {"embedding": self._embedding[self._first_frame[clip] : self._first_frame[clip + 1]]}

    def verify(self, clip: int) -> bool:
        """Whether a clip's numbers are still those that were written.

        Raises: AvsctlError: If the cache has no checksums.
        """
        return _hash(self.uids[clip], self.item(clip)["embedding"]) == clip_hashes(self._hashes, self.path)[clip]
