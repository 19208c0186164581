"""Class maps of the frames a model saw, and the masks of all frames between them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from avsctl.rendering.overlay import interpolate_masks
from avsctl.stages.visualize_models import MAP_SIZE
from avsctl.stages.visualize_record import Presence

FRAMES_AT_ONCE = 16
MAX_SIDE = 1920
"""Larger pictures are drawn at this long side: H.264 players stop at little more."""


@dataclass
class KeyMaps:
    """The maps (k, 112, 112) of a seen frame, only of the background and the classes present, in index order."""

    time: float
    classes: np.ndarray
    maps: np.ndarray


def key_maps(seconds: float, maps: Tensor, entries: Sequence[Presence]) -> KeyMaps:
    """Keep the maps (K, 112, 112) of the background and of the classes present, in index order."""
    classes = np.array(sorted({0, *(entry.index for entry in entries)}))
    return KeyMaps(seconds, classes, maps.numpy()[classes])


class MapSpool:
    """Keeps the seen frames' maps on disk between the two passes, so that memory stays flat."""

    def __init__(self, folder: Path):
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `__exit__`
        self._index: list[tuple[float, list[int]]] = []

    def add(self, key: KeyMaps) -> None:
        self._index.append((key.time, key.classes.tolist()))
        self._file.write(np.ascontiguousarray(key.maps, np.float16).tobytes())

    def __iter__(self) -> Iterator[KeyMaps]:
        self._file.seek(0)
        for time, classes in self._index:
            data = self._file.read(len(classes) * MAP_SIZE * MAP_SIZE * 2)
            maps = np.frombuffer(data, np.float16).reshape(len(classes), MAP_SIZE, MAP_SIZE)
            yield KeyMaps(time, np.array(classes), maps.astype(np.float32))

    def __enter__(self) -> MapSpool:
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._file.close()


def mask_between(key: KeyMaps, size: tuple[int, int], after: KeyMaps | None = None, seconds: float = 0.0) -> np.ndarray:
    """(height, width) class indices at a key, or on the way from it to the one after."""
    part = 0.0 if after is None else (seconds - key.time) / (after.time - key.time)
    if after is None or part <= 0:
        classes, start, end = key.classes, key.maps, key.maps
    else:
        classes = np.union1d(key.classes, after.classes)
        start, end = _spread(key, classes), _spread(after, classes)
    if len(classes) == 1:
        return np.zeros(size[::-1], np.uint8)
    return interpolate_masks(start, end, min(max(part, 0.0), 1.0), size=size, classes=classes.tolist())


def _spread(key: KeyMaps, classes: np.ndarray) -> np.ndarray:
    """The key's maps in the order of `classes`; zero where a class doesn't appear."""
    maps = np.zeros((len(classes), *key.maps.shape[1:]), np.float32)
    maps[np.searchsorted(classes, key.classes)] = key.maps
    return maps


def fitted_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height with the long side at most `side`, the shape kept."""
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def fitted(picture: np.ndarray, side: int) -> np.ndarray:
    """The picture, shrunk where its long side is above `side`."""
    size = fitted_size(picture.shape[1], picture.shape[0], side)
    if size == picture.shape[1::-1]:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
