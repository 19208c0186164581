"""AVSBench's label colours to class indices, against one comparison per class."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from avsctl.bench.harness import Result, Settings, in_turn, require_equal
from avsctl.bench.memory import in_own_process
from avsctl.data.palette import colours_to_index, index_to_colours, palette

CLASSES = 71
SIZE = (720, 1280)


def run(settings: Settings) -> list[Result]:
    """Time the decoding of label pictures at 720p."""
    count = 1 if settings.quick else 10
    pictures = make_pictures(count)
    for picture in pictures:
        require_equal(np.array_equal(colours_to_index(picture, CLASSES)[0], by_comparison(picture)), "class indices")
    ours, peer = partial(_ours, pictures), partial(_peer, pictures)
    ours_s, peer_s = in_turn(ours, peer, settings.rounds(5, 2))
    return [
        Result(
            name="label-decoding",
            ours_s=ours_s,
            peer_s=peer_s,
            target=20,
            unit="labels",
            count=count,
            peer="one comparison of the whole picture per class",
            checked=f"class indices of {count} pictures of {SIZE[1]} x {SIZE[0]}, {CLASSES} classes",
            ours_bytes=in_own_process(_alone, "ours", count).peak_bytes,
            peer_bytes=in_own_process(_alone, "peer", count).peak_bytes,
        )
    ]


def make_pictures(count: int) -> list[np.ndarray]:
    """Label pictures (720, 1280, 3) uint8 with a few discs of different classes."""
    rng = np.random.default_rng(0)
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    pictures = []
    for _ in range(count):
        index = np.zeros(SIZE, np.uint8)
        for label in rng.integers(1, CLASSES, 4):
            row, column, radius = rng.integers(0, SIZE[0]), rng.integers(0, SIZE[1]), rng.integers(60, 240)
            index[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = label
        pictures.append(index_to_colours(index))
    return pictures


def by_comparison(picture: np.ndarray) -> np.ndarray:
    """The plain way: (H, W) uint8 class indices of a picture (H, W, 3)."""
    index = np.zeros(picture.shape[:2], np.uint8)
    for number, colour in enumerate(palette(CLASSES)):
        index[(picture == colour).all(-1)] = number
    return index


def _ours(pictures: list[np.ndarray]) -> None:
    for picture in pictures:
        colours_to_index(picture, CLASSES)


def _peer(pictures: list[np.ndarray]) -> None:
    for picture in pictures:
        by_comparison(picture)


def _alone(side: str, count: int) -> Callable[[], None]:
    return partial(_ours if side == "ours" else _peer, make_pictures(count))
