"""AVSBench-semantic's classes and the colours its label pictures write them in."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

CLASS_NAMES: tuple[str, ...] = (
    "background", "accordion", "airplane", "axe", "baby", "bassoon", "bell", "bird", "boat", "boy", "bus",
    "car", "cat", "cello", "clarinet", "clipper", "clock", "dog", "donkey", "drum", "duck", "elephant",
    "emergency-car",
    "erhu", "flute", "frying-food", "girl", "goose", "guitar", "gun", "guzheng", "hair-dryer", "handpan",
    "harmonica", "harp", "helicopter", "hen", "horse", "keyboard", "leopard", "lion", "man", "marimba",
    "missile-rocket", "motorcycle", "mower", "parrot", "piano", "pig", "pipa", "saw", "saxophone", "sheep",
    "sitar",
    "sorna", "squirrel", "tabla", "tank", "tiger", "tractor", "train", "trombone", "truck", "trumpet", "tuba",
    "ukulele", "utv", "vacuum-cleaner", "violin", "wolf", "woman",
)  # fmt: skip
"""The 71 classes of AVSBench-semantic in index order; 0 is the background. `label2idx.json` counts from 1."""


def palette(n: int) -> np.ndarray:
    """Colours of the first `n` class indices: the Pascal VOC colour map, which AVSBench's labels_rgb use.

    Args:
        n: number of classes, 1 to 256.
    Returns: (n, 3) uint8, row j is class j's red, green, blue; row 0 is black.
    Raises: ValueError: If n is outside 1..256.
    """
    if not 1 <= n <= 256:
        raise ValueError(f"palette: n must be 1 to 256, got {n}")
    rest = np.arange(n)
    colours = np.zeros((n, 3), dtype=np.uint8)
    for shift in range(7, -1, -1):
        for channel in range(3):
            colours[:, channel] |= (((rest >> channel) & 1) << shift).astype(np.uint8)
        rest = rest >> 3
    return colours


def index_to_colours(index: np.ndarray, n: int = len(CLASS_NAMES)) -> np.ndarray:
    """Paint class indices in the colours of `palette(n)`.

    Args:
        index: (...) integers, 0 to n - 1.
    Returns: (..., 3) uint8.
    Raises: ValueError: If an index lies outside 0..n - 1.
    """
    if index.size and not 0 <= int(index.min()) <= int(index.max()) < n:
        raise ValueError(f"index_to_colours: indices must be below {n}, got {index.min()} to {index.max()}")
    return palette(n)[index]


def colours_to_index(rgb: np.ndarray, n: int = len(CLASS_NAMES)) -> tuple[np.ndarray, int]:
    """Read class indices back from a label picture; a colour outside the palette becomes class 0.

    Args:
        rgb: (H, W, 3) uint8.
        n: number of classes in the palette.
    Returns: (H, W) uint8 indices, and how many pixels had a colour outside the palette.
    Raises: ValueError: If rgb is not (H, W, 3) uint8.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"colours_to_index: rgb must be (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}")
    codes = _codes(rgb)
    index = _index_of_code(n).take(codes)
    stray = np.count_nonzero(codes) - np.count_nonzero(index)  # only black is class 0
    return index, int(stray)


def _codes(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 colours as 24-bit numbers."""
    wide = np.zeros((*rgb.shape[:-1], 4), np.uint8)
    for channel in range(3):  # numpy copies one channel at a time four times faster than all three
        wide[..., channel] = rgb[..., channel]
    return wide.view("<u4")[..., 0]


@lru_cache(maxsize=2)
def _index_of_code(n: int) -> np.ndarray:
    """Class index of each of the 2**24 colours; untouched pages of zeros cost no memory."""
    table = np.zeros(1 << 24, dtype=np.uint8)
    table[_codes(palette(n))] = np.arange(n, dtype=np.uint8)
    return table
