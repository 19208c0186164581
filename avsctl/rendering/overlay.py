"""Masks, class names and probabilities drawn over pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from avsctl.rendering.images import checked_rgb

_LABEL_GRID = 160  # regions are found on a mask of at most this many pixels a side: 40 times faster at 720p
_MIN_REGION = 0.004  # share of the picture below which a region gets no name: its box would hide it
_HEAT = np.array(
    [
        [0, 0, 4],
        [40, 11, 84],
        [101, 21, 110],
        [159, 42, 99],
        [212, 72, 66],
        [245, 125, 21],
        [250, 193, 39],
        [252, 255, 164],
    ],
    dtype=np.float32,
)  # dark violet over red to light yellow, of even lightness steps, also legible to the colour-blind


@dataclass(frozen=True)
class Region:
    """A connected area of one class; x, y, top and bottom are in 0..1 of the picture, area is its share."""

    index: int
    x: float
    y: float
    top: float
    bottom: float
    area: float


def draw_masks(
    rgb: np.ndarray,
    index_mask: np.ndarray,
    names: Sequence[str],
    colours: np.ndarray,
    alpha: float = 0.5,
    labels: bool = True,
) -> np.ndarray:
    """Tint each class's pixels, outline them crisply and write the class's name at each larger region.

    Args:
        rgb: (H, W, 3) uint8 picture; it is not changed.
        index_mask: (h, w) class indices, 0 the background, of any size; enlarged to the picture's nearest.
        names, colours: n names and (n, 3) uint8 colours, in index order.
        alpha: How much of the colour covers the picture, 0 to 1.
        labels: Whether to write names.
    Returns: (H, W, 3) uint8.
    Raises: ValueError: If a shape is wrong, alpha out of range, or the mask holds a class without name or
        colour.
    """
    rgb = checked_rgb(rgb)
    colours = np.asarray(colours, dtype=np.uint8)
    mask = _checked_mask(index_mask, min(len(names), len(colours)))
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in 0..1, not {alpha}")
    if not mask.any():
        return rgb.copy()
    full = resize_index(mask, rgb.shape[1], rgb.shape[0])
    drawn = _painted(rgb, full, colours, alpha)
    return draw_labels(drawn, find_regions(mask), names, colours) if labels else drawn


def draw_transparent(
    size: tuple[int, int], index_mask: np.ndarray, names: Sequence[str], colours: np.ndarray, alpha: float = 0.5
) -> np.ndarray:
    """What `draw_masks` lays over a picture, alone on a transparent ground.

    Args:
        size: (width, height) of the layer.
        The rest is as for `draw_masks`.
    Returns: (height, width, 4) uint8 RGBA, alpha straight (not multiplied into the colours).
    """
    width, height = size
    if not np.any(index_mask):
        return np.zeros((height, width, 4), np.uint8)
    # Over black and over white the same layer differs by what shines through it.
    black, white = (
        draw_masks(np.full((height, width, 3), ground, np.uint8), index_mask, names, colours, alpha)
        for ground in (0, 255)
    )
    opacity = 255 - (white.astype(np.int16) - black).max(2).clip(0, 255)
    rgba = np.zeros((height, width, 4), np.uint8)
    solid = opacity > 0
    rgba[solid, :3] = (black[solid] * 255.0 / opacity[solid, None]).clip(0, 255).round()
    rgba[..., 3] = opacity
    return rgba


def draw_heat(rgb: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Lay a probability map over a darkened picture, dark violet (0) to light yellow (1), with its 0.5 line.

    Args:
        rgb: (H, W, 3) uint8.
        probability: (h, w) in [0, 1] or uint8 (255 is certain), any size; NaN counts as 0.
    Returns: (H, W, 3) uint8.
    Raises: ValueError: If a shape is wrong.
    """
    rgb = checked_rgb(rgb)
    probability = np.asarray(probability)
    if probability.ndim != 2 or probability.size == 0:
        raise ValueError(f"a probability map is (h, w), not {probability.shape}")
    scale = 255.0 if probability.dtype == np.uint8 else 1.0
    maps = np.clip(np.nan_to_num(probability.astype(np.float32) / scale), 0, 1)[None]
    p = resize_maps(maps, rgb.shape[1], rgb.shape[0])[0]
    grey = rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    base = (0.5 * rgb + 0.5 * grey[..., None]) * 0.55
    weight = (0.2 + 0.6 * p)[..., None]
    heat = heat_colours()[(p * 255).astype(np.uint8)]
    drawn = (base * (1 - weight) + heat * weight).astype(np.uint8)
    if p.max() > 0.5 >= p.min():
        drawn[_edges((p > 0.5).astype(np.uint8), _line_width(rgb.shape[:2]))[0]] = 255
    return drawn


def heat_colours() -> np.ndarray:
    """(256, 3) float32 in 0..255: the colour of each probability from 0 to 1."""
    steps = np.arange(256) / 255 * (len(_HEAT) - 1)
    table = np.stack([np.interp(steps, np.arange(len(_HEAT)), _HEAT[:, c]) for c in range(3)], axis=1)
    return table.astype(np.float32)


def interpolate_masks(
    maps_a: np.ndarray,
    maps_b: np.ndarray,
    t: float,
    *,
    size: tuple[int, int] | None = None,
    classes: Sequence[int] | None = None,
) -> np.ndarray:
    """Blend two key frames' class maps linearly and take the strongest class of each pixel.

    A border then wanders from one key frame to the next and a region grows or fades, instead of jumping. Maps
    are enlarged before the strongest class is taken, which keeps borders smooth.

    Args:
        maps_a, maps_b: (K, h, w) probabilities, scores or soft masks of the same K classes, background among
            them.
        t: Position between them, 0 (`maps_a`) to 1 (`maps_b`).
        size: (width, height) of the result, default (w, h).
        classes: K class indices that the maps belong to, default 0 to K-1.
    Returns: (height, width) uint8 class indices.
    Raises: ValueError: If the shapes differ, t is out of range or an index doesn't fit into 8 bits.
    """
    maps_a, maps_b = np.asarray(maps_a, np.float32), np.asarray(maps_b, np.float32)
    if maps_a.ndim != 3 or maps_a.shape != maps_b.shape or maps_a.size == 0:
        raise ValueError(f"class maps are (K, h, w) and alike, not {maps_a.shape} and {maps_b.shape}")
    if not 0 <= t <= 1:
        raise ValueError(f"t must be in 0..1, not {t}")
    ids = np.arange(len(maps_a)) if classes is None else np.asarray(classes)
    if ids.shape != (len(maps_a),) or ids.min() < 0 or ids.max() > 255:
        raise ValueError(f"{len(maps_a)} maps need as many class indices in 0..255, got {ids.tolist()}")
    blended = maps_a * (1 - t) + maps_b * t
    if size is not None and size != maps_a.shape[:0:-1]:
        blended = resize_maps(blended, *size)
    best, winner = blended[0].copy(), np.full(blended.shape[1:], ids[0], np.uint8)
    for layer, index in zip(blended[1:], ids[1:], strict=True):  # five times faster than argmax over axis 0
        stronger = layer > best
        np.copyto(best, layer, where=stronger)
        winner[stronger] = index
    return winner


def resize_maps(maps: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize (K, h, w) float maps bilinearly to (K, height, width)."""
    images = (Image.fromarray(np.ascontiguousarray(layer, dtype=np.float32)) for layer in maps)
    return np.stack([np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)) for image in images])


def resize_index(index_mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize (h, w) uint8 class indices to (height, width) by the nearest pixel."""
    if index_mask.shape == (height, width):
        return index_mask
    image = Image.fromarray(np.ascontiguousarray(index_mask, dtype=np.uint8))
    return np.asarray(image.resize((width, height), Image.Resampling.NEAREST))


def find_regions(index_mask: np.ndarray) -> list[Region]:
    """List the connected areas that are large enough for a name, largest first."""
    height, width = index_mask.shape
    scale = min(1.0, _LABEL_GRID / max(height, width))
    small = resize_index(index_mask, max(1, round(width * scale)), max(1, round(height * scale)))
    regions = []
    for index in np.unique(small[small > 0]):
        areas, count = ndimage.label(small == index, structure=np.ones((3, 3)))
        for number, (rows, columns) in enumerate(ndimage.find_objects(areas, count), start=1):
            y, x = np.nonzero(areas[rows, columns] == number)
            if y.size < _MIN_REGION * small.size:
                continue
            h, w = small.shape
            regions.append(
                Region(
                    int(index),
                    (columns.start + x.mean() + 0.5) / w,
                    (rows.start + y.mean() + 0.5) / h,
                    rows.start / h,
                    rows.stop / h,
                    y.size / small.size,
                )
            )
    return sorted(regions, key=lambda region: -region.area)


def draw_labels(rgb: np.ndarray, regions: Sequence[Region], names: Sequence[str], colours: np.ndarray) -> np.ndarray:
    """Write each region's name in a box of its colour: above the region, or inside it at the picture's upper
    edge.

    Boxes that would overlap move down; where there is no room left, the name is left out.
    """
    height, width = rgb.shape[:2]
    size = max(13, round(0.032 * (height * width) ** 0.5))
    font, pad = load_font(size), max(2, size // 4)
    image = Image.fromarray(rgb)
    taken: list[tuple[int, int, int, int]] = []
    draw = ImageDraw.Draw(image)
    for region in regions:
        text = names[region.index].replace("_", " ")
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        w, h = round(right - left) + 2 * pad, round(bottom - top) + 2 * pad
        if w > width or h > height:
            continue
        x = int(np.clip(region.x * width - w / 2, 0, width - w))
        y = int(np.clip(region.top * height - h - 2, 0, height - h))
        box = _free_box(x, y, w, h, taken, height)
        if box is None:
            continue
        taken.append(box)
        colour = tuple(int(c) for c in vivid(colours[region.index]))
        draw.rounded_rectangle(box, radius=pad, fill=colour, outline=(0, 0, 0) if sum(colour) > 380 else (255,) * 3)
        draw.text((box[0] + pad - left, box[1] + pad - top), text, font=font, fill=readable_on(colour))
    return np.array(image)


def vivid(colours: np.ndarray) -> np.ndarray:
    """Brighten palette colours (..., 3) for drawing (gamma 0.4, black to grey); different ones stay
    different.

    Palettes of segmentation data start at (64, 0, 0) and (128, 0, 0), which hardly show on dark pictures.
    """
    colours = np.asarray(colours)
    bright = np.round(255 * (colours / 255.0) ** 0.4)
    return np.where(colours.any(-1, keepdims=True), bright, 70).astype(np.uint8)


def readable_on(colour: Sequence[int]) -> tuple[int, int, int]:
    """Black or white, whichever contrasts more with a background colour (WCAG 2 relative luminance)."""
    channels = np.asarray(colour, dtype=np.float64)[:3] / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return (0, 0, 0) if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else (255, 255, 255)


@lru_cache(maxsize=32)
def load_font(size: int):
    """Pillow's own font at a size in pixels: no font file is needed."""
    return ImageFont.load_default(size)


def _checked_mask(index_mask: np.ndarray, classes: int) -> np.ndarray:
    mask = np.asarray(index_mask)
    if mask.ndim != 2 or mask.size == 0 or mask.dtype.kind not in "bui":
        raise ValueError(f"a mask is (h, w) class indices, not {mask.shape} {mask.dtype}")
    if mask.min() < 0 or mask.max() >= max(classes, 1):
        raise ValueError(f"the mask holds class {mask.min()}..{mask.max()}, but there are {classes} classes")
    return mask.astype(np.uint8)


def _painted(rgb: np.ndarray, mask: np.ndarray, colours: np.ndarray, alpha: float) -> np.ndarray:
    """Tint and outline; Pillow blends several times faster than numpy."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours)] = vivid(colours)
    plain = Image.fromarray(mask)
    plain.putpalette(palette.tobytes())
    plain = plain.convert("RGB")
    drawn = Image.fromarray(rgb)
    drawn.paste(plain, mask=Image.fromarray((mask > 0) * np.uint8(round(alpha * 255))))
    line, rim = _edges(mask, _line_width(mask.shape))
    drawn.paste((0, 0, 0), mask=Image.fromarray(rim * np.uint8(190)))  # parts the line from a bright picture
    drawn.paste(plain, mask=Image.fromarray(line * np.uint8(255)))
    return np.array(drawn)


def _edges(mask: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Class pixels within `width` of another class, and background pixels half as far from a class.

    The picture's own border is no edge.
    """
    near = np.zeros(mask.shape, bool)
    across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
    near[:, 1:] |= across
    near[:, :-1] |= across
    near[1:] |= down
    near[:-1] |= down
    rim = np.zeros(mask.shape, bool)
    for step in range(1, width + 1):
        if step == max(1, width // 2):
            rim = near & (mask == 0)
        if step < width:
            near = _grown(near)
    return near & (mask > 0), rim


def _grown(marked: np.ndarray) -> np.ndarray:
    grown = marked.copy()
    grown[:, 1:] |= marked[:, :-1]
    grown[:, :-1] |= marked[:, 1:]
    grown[1:] |= marked[:-1]
    grown[:-1] |= marked[1:]
    return grown


def _line_width(shape: tuple[int, int]) -> int:
    return max(1, round(min(shape) / 300))


def _free_box(x: int, y: int, w: int, h: int, taken: list, height: int) -> tuple[int, int, int, int] | None:
    while y + h <= height:
        hit = [b for b in taken if x < b[2] and b[0] < x + w and y < b[3] and b[1] < y + h]
        if not hit:
            return x, y, x + w - 1, y + h - 1
        y = max(box[3] for box in hit) + 2
    return None
