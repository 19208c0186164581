"""What an HDF5 file consists of, looked at before anything in it is read.

A cache may come from strangers, and HDF5 can name other files (external and soft links, external storage, virtual
datasets), ask for plug-ins (filters), and declare terabytes that it does not hold. avsctl writes none of these.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from avsctl.caches.texts import Texts

MAX_OBJECTS = 64
"""Groups and datasets of a file; ours have fewer than 20."""
MAX_HELD = 2**30
"""Bytes of a dataset that readers hold in memory."""
PIECEWISE = (
    *("frames/data", "labels/data", "audio/data", "log_mel/data", "maps"),
    *("decoded/frames", "decoded/labels", "decoded/sounding"),
    *("features/4", "features/8", "features/16", "features/32"),
)
"""What is read clip by clip, and may be larger."""
_BUILT_IN = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_DEFLATE_RATIO = 1100
"""Deflate packs at most 1,032 bytes into one."""


def check_contents(file: h5py.File) -> None:
    """Refuse a file that leads elsewhere, or declares more than it holds.

    Raises: ValueError: With the name of the first such thing.
    """
    size = os.path.getsize(file.filename)
    for number, (name, dataset) in enumerate(_datasets(file)):
        if number >= MAX_OBJECTS:
            raise ValueError(f"it holds more than {MAX_OBJECTS} datasets")
        _check_storage(name, dataset, size)


def read_texts(file: h5py.File, name: str) -> Texts:
    """A column of text.

    Raises: ValueError: If it is none.
    """
    values = read_array(file, name, "SO", 1)
    for value in values:
        if not isinstance(value, bytes):
            raise ValueError(f"{name} holds no text")
        value.decode()
    return Texts(values)


def read_array(file: h5py.File, name: str, kinds: str, dimensions: int) -> np.ndarray:
    """A dataset as a whole.

    Args:
        kinds: letters of the number formats that it may have, as in `numpy.dtype.kind`.
    Raises: ValueError: If it is missing, no dataset, or has another format or number of dimensions.
    """
    return check_array(file, name, kinds, dimensions)[...]


def check_array(file: h5py.File, name: str, kinds: str, dimensions: int) -> h5py.Dataset:
    """A dataset, not yet read. Raises: ValueError: As `read_array`."""
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"it has no {name}")
    if found.dtype.kind not in kinds or found.shape is None or len(found.shape) != dimensions:
        raise ValueError(f"{name} is {found.dtype} of shape {found.shape}")
    return found


def check_bounds(name: str, bounds: np.ndarray, parts: int, whole: int) -> np.ndarray:
    """Where each of `parts` parts of `whole` things begins, and where the last one ends, as int64.

    Raises: ValueError: If the bounds are not that.
    """
    bounds = bounds.astype(np.int64)
    if bounds.shape != (parts + 1,) or bounds[0] != 0 or bounds[-1] != whole or (np.diff(bounds) < 0).any():
        raise ValueError(f"{name} does not cut {whole:,} into {parts:,} parts")
    return bounds


def _datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """All datasets, in groups of the first level too, found without following a link."""
    groups = 0
    for name in file:
        item = _hard(file, name)
        if isinstance(item, h5py.Dataset):
            yield name, item
            continue
        groups += 1
        if groups > MAX_OBJECTS:
            raise ValueError(f"it holds more than {MAX_OBJECTS} groups")
        for inner in item:
            dataset = _hard(item, inner)
            if not isinstance(dataset, h5py.Dataset):
                raise ValueError(f"{name}/{inner} is no dataset")
            yield f"{name}/{inner}", dataset


def _hard(group: h5py.Group, name: str) -> Any:
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.HardLink):
        return group[name]
    where = f" to {link.filename}" if isinstance(link, h5py.ExternalLink) else ""
    raise ValueError(f"{name} is a link{where}, not data")


def _check_storage(name: str, dataset: h5py.Dataset, size: int) -> None:
    layout = dataset.id.get_create_plist()
    if layout.get_layout() == h5py.h5d.VIRTUAL:
        raise ValueError(f"{name} is a virtual dataset, whose data lie in other files")
    if layout.get_external_count():
        elsewhere = layout.get_external(0)[0].decode(errors="replace")
        raise ValueError(f"the data of {name} lie in another file, {elsewhere}")
    filters = {layout.get_filter(i)[0] for i in range(layout.get_nfilters())}
    if filters - _BUILT_IN:
        raise ValueError(f"{name} needs the filter {min(filters - _BUILT_IN)}, which is not built in")
    declared = (dataset.size or 0) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    packed = h5py.h5z.FILTER_DEFLATE in filters
    if stored > size or declared > stored * (_DEFLATE_RATIO if packed else 1):
        raise ValueError(f"{name} declares {declared:,} bytes and holds {min(stored, size):,}")
    if declared > MAX_HELD and name not in PIECEWISE:
        raise ValueError(f"{name} has {declared:,} bytes, more than {MAX_HELD:,}, the limit")
