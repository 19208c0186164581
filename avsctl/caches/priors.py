"""`priors/*.h5`: one map of sounding probabilities per frame, the stepping stone from stage 1 to stage 2.

| key | shape, type | meaning |
|---|---|---|
| clips/uid, clips/first_frame | (n,) text, (n + 1,) int64 | index; maps are found by (uid, frame), never by position |
| clips/hash | (n,) text | hash of the clip's name and maps |
| maps | (F, s, s) uint8, one compressed chunk per frame | round(255 · probability), s = 224 by default |
| attributes origin | text | `predicted`, `low`, `high`, `miou-X` or `masks` |
| attributes accuracy | JSON | `{"<subset>/<split>": mIoU}` against the ground truth, `null` where nothing is labelled |

A probability above 0.5 is stored as at least 128, any other as at most 127, so that thresholding the stored
byte at 127.5 gives exactly the decision that stage 1 made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    set_text,
    write_header,
)
from avsctl.caches.integrity import clip_hashes
from avsctl.caches.texts import packed
from avsctl.errors import AvsctlError
from avsctl.limits import MAX_FRAMES

MAX_SIDE = 1024
"""Of a map."""


def to_bytes(probability: np.ndarray) -> np.ndarray:
    """Probabilities in [0, 1] as bytes that keep every decision at 0.5."""
    rounded = np.rint(np.clip(probability, 0.0, 1.0) * 255).astype(np.uint8)
    sounding = probability > 0.5
    return np.where(sounding, np.maximum(rounded, 128), np.minimum(rounded, 127)).astype(np.uint8)


def assemble_priors(
    path: Path,
    items: Callable[[], Iterable[Mapping[str, np.ndarray]]],
    *,
    uids: Sequence[str],
    origin: str,
    accuracy: Mapping[str, float | None],
    inputs: Mapping[str, str],
    options: Mapping[str, Any],
) -> Path:
    """Write a prior cache from items `{"maps": (T, s, s) uint8}` in the order of `uids`."""
    counts, hashes, checks, size = [], [], [], 0
    for uid, item in zip(uids, items(), strict=True):
        counts.append(len(item["maps"]))
        hashes.append(hash_of(item["maps"].tobytes()))
        checks.append(hash_of(uid, hashes[-1]).encode())
        size = item["maps"].shape[-1]
    first_frame = np.cumsum([0, *counts])
    with whole_file(path) as part, new_cache(part, ["clips"]) as file:
        write_header(file, "priors", fingerprint=hash_of(*hashes), inputs=inputs, options=options)
        set_text(file, "origin", origin)
        set_text(file, "accuracy", json.dumps(dict(accuracy), sort_keys=True))
        file["clips/uid"] = packed(uids)
        file["clips/first_frame"] = first_frame
        file["clips/hash"] = np.array(checks, dtype="S")
        shape = (int(first_frame[-1]), size, size)
        maps = file.create_dataset(
            "maps", shape, np.uint8, chunks=(1, size, size), compression="gzip", compression_opts=4
        )
        for first, item in zip(first_frame, items(), strict=False):
            maps[first : first + len(item["maps"])] = item["maps"]
        mark_complete(file)
    return path


class PriorCache:
    """Read a prior cache. Pickles as its path and opens the file lazily, like `ClipCache`.

    Raises: AvsctlError: If the file is missing, damaged or of another kind.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._file: h5py.File | None = None
        with readable(self.path, "priors"), open_cache(self.path, "priors") as file:
            self.header = header(file)
            self.fingerprint = get_text(file, "fingerprint")
            self.origin = get_text(file, "origin")
            self.accuracy: dict[str, float | None] = _accuracy(file)
            self.uids = uids = read_texts(file, "clips/uid")
            self._hashes = read_texts(file, "clips/hash") if "clips/hash" in file else []
            frames, *size = check_array(file, "maps", "u", 3).shape
            first = read_array(file, "clips/first_frame", "iu", 1)
            self._first_frame = check_bounds("clips/first_frame", first, len(uids), frames)
            if file["maps"].dtype != np.uint8 or size[0] != size[1] or not 1 <= size[0] <= MAX_SIDE:
                raise ValueError(f"maps are {file['maps'].dtype} of {size[0]}x{size[1]}")
            if len(uids) and np.diff(self._first_frame).max() > MAX_FRAMES:
                raise ValueError(f"a clip has more than {MAX_FRAMES:,} frames, the limit")
        self._position = uids.places()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __len__(self) -> int:
        return len(self.uids)

    def __contains__(self, uid: str) -> bool:
        return uid in self._position

    def maps(self, uid: str) -> np.ndarray:
        """(T, s, s) uint8 of a clip; 128 and more is sounding.

        Raises: AvsctlError: If the clip is not in the cache.
        """
        position = self._position.get(uid)
        if position is None:
            raise AvsctlError(f"{self.path} has no prior for clip {uid}. Run 'avsctl predict-priors --overwrite'.")
        return self.item(position)["maps"]

    def item(self, clip: int) -> dict[str, np.ndarray]:
        """A clip by its place, as `assemble_priors` takes it."""
        if self._file is None:
            self._file = reopen_cache(self.path, "priors", self.fingerprint)
        with readable(self.path, "priors"):
            return {"maps": self._file["maps"][self._first_frame[clip] : self._first_frame[clip + 1]]}

    def verify(self, clip: int) -> bool:
        """Whether a clip's maps are still those that were written.

        Raises: AvsctlError: If the cache has no checksums, or the maps can't be read.
        """
        found = hash_of(self.uids[clip], hash_of(self.item(clip)["maps"].tobytes()))
        return found == clip_hashes(self._hashes, self.path)[clip]


def _accuracy(file: h5py.File) -> dict[str, float | None]:
    found = json.loads(get_text(file, "accuracy"))
    if not isinstance(found, dict) or not all(_is_share(value) for value in found.values()):
        raise ValueError("its accuracy is no table of shares")
    return found


def _is_share(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and 0 <= value <= 1)
