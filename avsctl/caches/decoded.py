"""The group `decoded` of `clips.h5`: frames and labels as a model reads them. Derived, so no fingerprint counts it.

Frames lie in one piece: a chunk for each reads three times slower, and lossless packing (a tenth to a quarter
smaller) thirty times. Labels pack well, one chunk for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import h5py
import numpy as np

from avsctl.caches.contents import check_array, read_texts
from avsctl.caches.files import hash_of

PARTS = ("decoded/frames", "decoded/labels", "decoded/sounding")
"""Names in an item and in the file; those of an item have the shapes (T, 3, S, S), (T, s, s) and (T, s, s)."""
MAX_SIDE = 2048


def decoded_hash(item: Mapping[str, np.ndarray]) -> str:
    """Of a clip's decoded frames and labels; empty where it has none."""
    return hash_of(*(item[name].tobytes() for name in PARTS)) if PARTS[0] in item else ""


def create_decoded(file: h5py.File, frames: int, shapes: Sequence[tuple[int, ...]], hashes: np.ndarray) -> None:
    """Make the group's datasets for so many frames; `shapes` are those of one frame's parts, `hashes` the clips'."""
    packed = {"compression": "gzip", "compression_opts": 1}
    for name, shape in zip(PARTS, shapes, strict=True):
        stored = {} if name == PARTS[0] else {"chunks": (1, *shape), **packed}
        file.create_dataset(name, (frames, *shape), np.uint8, **stored)
    file["decoded/hash"] = hashes


def read_index(file: h5py.File, frames: int, clips: int) -> tuple[int, int, Sequence[str]]:
    """Sides of the decoded frames and labels (0 where there are none) and the hash of each clip's.

    Raises: ValueError: If they don't fit the clips.
    """
    if PARTS[0] not in file:
        return 0, 0, []
    found = [check_array(file, name, "u", 3 + (name == PARTS[0])) for name in PARTS]
    side, label_side = (dataset.shape[-1] for dataset in found[:2])
    wanted = [(frames, 3, side, side), *[(frames, label_side, label_side)] * 2]
    for name, dataset, shape in zip(PARTS, found, wanted, strict=True):
        if dataset.dtype != np.uint8 or dataset.shape != shape or not 1 <= shape[-1] <= MAX_SIDE:
            raise ValueError(f"{name} is {dataset.dtype} of shape {dataset.shape}")
    hashes = read_texts(file, "decoded/hash")
    if len(hashes) != clips:
        raise ValueError("decoded/hash does not fit the clips")
    return side, label_side, hashes
