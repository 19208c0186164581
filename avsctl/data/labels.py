"""Label maps at a model's size, by the rules of the released readers.

Stored labels keep their own size, and the code bases differ in how they shrink them:

| rule | who | what |
|---|---|---|
| `binary_label(rule="bilinear")` | Stepping Stones, stage 1 | colours resized bilinearly, what isn't black sounds |
| `binary_label(rule="nearest")` | AVSBench, AVSegFormer | nearest neighbour |
| `semantic_label` | all three | nearest neighbour |
| `short_side_crop` | AVSBench and AVSegFormer, semantic training | short side to the size, then the centre |
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from avsctl.data.palette import palette as voc_palette
from avsctl.pictures import open_picture

UNLABELLED = 255
"""Value of every pixel in the map of a frame without a label; no dataset has so many classes."""
BINARY_RULES = ("bilinear", "nearest")


def read_label(data: bytes, classes: int = UNLABELLED) -> np.ndarray:
    """Decode a stored label to (H, W) uint8 class indices.

    Args:
        classes: how many there are.
    Raises: ValueError: If it is broken, no 8-bit index picture, or holds an index that is no class.
    """
    picture = open_picture(data)
    if picture.mode not in ("L", "P"):
        raise ValueError(f"has pixels of kind {picture.mode}, which are no class indices")
    index = np.asarray(picture)
    if index.max() >= classes:
        raise ValueError(f"holds class index {index.max()}, but the indices are 0 to {classes - 1}")
    return index


def semantic_label(index: np.ndarray, size: int) -> np.ndarray:
    """Resize class indices by nearest neighbour (Pillow's), without keeping the aspect ratio.

    Args:
        index: (H, W) uint8.
    Returns: (size, size) uint8.
    """
    return np.asarray(Image.fromarray(index).resize((size, size), Image.Resampling.NEAREST))


def binary_label(
    index: np.ndarray, size: int, *, rule: str = "bilinear", palette: np.ndarray | None = None
) -> np.ndarray:
    """Which pixels sound (1) or not (0) at a model's size.

    Args:
        index: (H, W) uint8 class indices; every class but 0 sounds.
        rule: `bilinear` makes borders grow by a part of a pixel, as released stage 1 does; `nearest` does not.
        palette: (n, 3) uint8 colours of the classes; the dark ones grow a little less. Default: AVSBench's.
    Returns: (size, size) uint8.
    Raises: ValueError: If the rule is unknown.
    """
    if rule not in BINARY_RULES:
        raise ValueError(f"binary_label: rule must be one of {BINARY_RULES}, got {rule!r}")
    if rule == "nearest":
        return (semantic_label(index, size) != 0).astype(np.uint8)
    colours = voc_palette(int(index.max()) + 1) if palette is None else palette
    if index.shape in ((size, size), (2 * size, 2 * size)):
        return sounding_colours(colours[index], size)
    return _sounding_at_borders(index, colours, size)


def binary_from_classes(labels: np.ndarray) -> np.ndarray:
    """Which pixels sound, of class indices at a model's size: every class but 0; `UNLABELLED` stays."""
    return np.where(labels == UNLABELLED, labels, labels != 0).astype(np.uint8)


def sounding_colours(rgb: np.ndarray, size: int) -> np.ndarray:
    """Shrink a label picture in colours bilinearly and mark what isn't black.

    This is stage 1's target in Stepping Stones: `cv2.resize` (8-bit fixed point), `cv2.cvtColor` to grey, `> 0`.

    Args:
        rgb: (H, W, 3) uint8.
    Returns: (size, size) uint8 in {0, 1}.
    """
    return _grey_is_left(_resize_bilinear(rgb, size)).astype(np.uint8)


def _grey_is_left(rgb: np.ndarray) -> np.ndarray:
    """Whether OpenCV's grey value (weights in 1/2**15, rounded) of each colour is above 0."""
    red, green, blue = np.moveaxis(rgb.astype(np.int64), -1, 0)
    return (red * 9798 + green * 19235 + blue * 3735 + (1 << 14)) >> 15 > 0


def _sounding_at_borders(index: np.ndarray, colours: np.ndarray, size: int) -> np.ndarray:
    """`sounding_colours` of `colours[index]`, with arithmetic only where the four taps disagree (10 times faster)."""
    left, right, wx = _taps(index.shape[1], size)
    top, bottom, wy = _taps(index.shape[0], size)
    upper, lower = index[top], index[bottom]
    taps = [upper[:, left], upper[:, right], lower[:, left], lower[:, right]]
    result = np.minimum.reduce(taps) > 0  # every colour but black is grey above 0
    y, x = np.nonzero((np.maximum.reduce(taps) > 0) & ~result)
    corners = [colours[tap[y, x]].astype(np.int64) for tap in taps]
    across = [corners[i] * wx[0][x, None] + corners[i + 1] * wx[1][x, None] for i in (0, 2)]
    mixed = [((value >> 4) * wy[i][y, None]) >> 16 for i, value in enumerate(across)]
    result[y, x] = _grey_is_left((mixed[0] + mixed[1] + 2) >> 2)
    return result.astype(np.uint8)


def _resize_bilinear(rgb: np.ndarray, size: int) -> np.ndarray:
    """As `cv2.resize`: two taps a side, weights in 1/2**11, no antialiasing; at most 1 of 255 beside it."""
    height, width = rgb.shape[:2]
    if (height, width) == (size, size):
        return rgb
    if (height, width) == (2 * size, 2 * size):  # OpenCV takes the mean of four here
        blocks = rgb.reshape(size, 2, size, 2, 3).astype(np.int64).sum(axis=(1, 3))
        return ((blocks + 2) >> 2).astype(np.uint8)
    left, right, wx = _taps(width, size)
    top, bottom, wy = _taps(height, size)
    pixels = rgb.astype(np.int64)
    across = {}
    for name, rows in (("top", top), ("bottom", bottom)):
        line = pixels[rows]
        across[name] = line[:, left] * wx[0][None, :, None] + line[:, right] * wx[1][None, :, None]
    # The vertical pass drops bits in this order, which decides what faint borders round to.
    upper = ((across["top"] >> 4) * wy[0][:, None, None]) >> 16
    lower = ((across["bottom"] >> 4) * wy[1][:, None, None]) >> 16
    return ((upper + lower + 2) >> 2).astype(np.uint8)


def _taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """For each target pixel its two source pixels and their weights in 1/2048."""
    scale = source / target
    position = ((np.arange(target) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(position).astype(np.int64)
    part = position - first.astype(np.float32)
    part[(first < 0) | (first >= source - 1)] = 0
    first = np.clip(first, 0, source - 1)
    second = np.minimum(first + 1, source - 1)
    weights = np.rint((np.float32(1) - part) * np.float32(2048)), np.rint(part * np.float32(2048))
    return first, second, (weights[0].astype(np.int64), weights[1].astype(np.int64))


def short_side_crop(picture: Image.Image, size: int, *, label: bool = False) -> Image.Image:
    """Resize the short side to `size` and cut out the centre: AVSBench's reader for semantic training.

    Args:
        picture: a frame, or class indices with `label=True` (nearest neighbour instead of bilinear).
    Returns: a picture of size x size.
    """
    width, height = picture.size
    wide = (int(size * width / height), size) if width > height else (size, int(size * height / width))
    resized = picture.resize(wide, Image.Resampling.NEAREST if label else Image.Resampling.BILINEAR)
    x, y = int(round((wide[0] - size) / 2)), int(round((wide[1] - size) / 2))  # Python rounds 86.5 to 86
    return resized.crop((x, y, x + size, y + size))
