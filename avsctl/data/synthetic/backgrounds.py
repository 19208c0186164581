"""Textured places for objects to be in: hills, tiled floors, papered walls, blurred lights, clouds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .objects import hsv

DRIFT = 0.08  # of the frame's shorter side: how far the camera wanders
GRAIN = 3.0  # standard deviation of the sensor's noise, in grey levels


class Background:
    """One place seen by a slightly wandering camera.

    Args:
        rng: all choices come from it.
        size: width and height of the frames in pixels.
    """

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]):
        self.rng, self.size = rng, size
        self.margin = max(1, round(DRIFT * min(size)))
        large = (size[0] + 2 * self.margin, size[1] + 2 * self.margin)
        place = PLACES[int(rng.integers(len(PLACES)))](rng, large)
        self.picture = _texture(rng, place)
        self.phase = rng.uniform(0, 6, 2)
        self.speed = rng.uniform(0.2, 0.9, 2)

    def frame(self, second: int) -> Image.Image:
        """What the camera sees in a second, RGB."""
        x, y = np.round(self.margin * (1 + np.sin(self.phase + self.speed * second))).astype(int)
        return self.picture.crop((x, y, x + self.size[0], y + self.size[1]))

    def expose(self, frame: Image.Image) -> Image.Image:
        """Add the camera's changing exposure and grain to a finished frame."""
        light = self.rng.uniform(0.94, 1.06)
        grain = self.rng.normal(0, GRAIN, (frame.height, frame.width, 1))
        return Image.fromarray(np.clip(np.asarray(frame) * light + grain, 0, 255).astype(np.uint8))


def _muted(rng: np.random.Generator, low: float, high: float) -> tuple[int, int, int]:
    return hsv(rng.uniform(), rng.uniform(0.08, 0.4), rng.uniform(low, high))


def _gradient(top: tuple[int, int, int], bottom: tuple[int, int, int], size: tuple[int, int]) -> Image.Image:
    column = np.linspace(np.array(top), np.array(bottom), size[1])[:, None]
    return Image.fromarray(np.repeat(column, size[0], axis=1).astype(np.uint8))


def _hills(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    width, height = size
    picture = _gradient(_muted(rng, 0.65, 0.95), _muted(rng, 0.7, 1.0), size)
    draw = ImageDraw.Draw(picture)
    x = np.arange(0, width + 8, 8)
    for layer in range(3):
        base = height * (0.4 + 0.17 * layer + rng.uniform(0, 0.1))
        ridge = base + height * 0.06 * (np.sin(x / width * rng.uniform(5, 14) + rng.uniform(0, 6)))
        points = [(0, height), *zip(x.tolist(), ridge.tolist(), strict=True), (width + 8, height)]
        draw.polygon(points, fill=_muted(rng, 0.75 - 0.15 * layer, 0.85 - 0.15 * layer))
    return picture


def _tiles(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    cell = max(4, int(min(size) * rng.uniform(0.12, 0.24)))
    y, x = np.mgrid[: size[1], : size[0]]
    if rng.integers(2):
        x, y = x + y, x - y
    colours = np.array([_muted(rng, 0.45, 0.9), _muted(rng, 0.45, 0.9)])
    return Image.fromarray(colours[((x // cell) + (y // cell)) % 2].astype(np.uint8))


def _wallpaper(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    width, height = size
    picture = Image.new("RGB", size, _muted(rng, 0.5, 0.9))
    draw = ImageDraw.Draw(picture)
    stripe, ink = max(4, int(min(size) * rng.uniform(0.08, 0.2))), _muted(rng, 0.5, 0.95)
    for x in range(0, width, 2 * stripe):
        draw.rectangle([x, 0, x + stripe, height], fill=ink)
    floor = int(height * rng.uniform(0.68, 0.85))
    draw.rectangle([0, floor, width, height], fill=_muted(rng, 0.3, 0.6))
    draw.rectangle([0, floor, width, floor + max(1, height // 40)], fill=_muted(rng, 0.6, 0.9))
    return picture


def _lights(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    picture = _gradient(_muted(rng, 0.25, 0.5), _muted(rng, 0.35, 0.65), size)
    draw = ImageDraw.Draw(picture)
    for _ in range(14):
        x, y, r = rng.uniform(0, size[0]), rng.uniform(0, size[1]), min(size) * rng.uniform(0.03, 0.12)
        draw.ellipse([x - r, y - r, x + r, y + r], fill=_muted(rng, 0.45, 0.8))
    return picture.filter(ImageFilter.GaussianBlur(min(size) * 0.015))


def _clouds(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    coarse = rng.uniform(0, 255, (5, 6)).astype(np.uint8)
    blend = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))[..., None] / 255
    one, other = np.array(_muted(rng, 0.4, 0.7)), np.array(_muted(rng, 0.65, 0.95))
    return Image.fromarray((one * blend + other * (1 - blend)).astype(np.uint8))


def _texture(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """Roughen a picture with noise at two scales."""
    total = np.asarray(picture).astype(np.float32)
    for cells, strength in ((10, 14.0), (48, 9.0)):
        coarse = rng.uniform(0, 255, (cells, cells)).astype(np.uint8)
        noise = np.asarray(Image.fromarray(coarse).resize(picture.size, Image.Resampling.BILINEAR), dtype=np.float32)
        total += strength * (noise[..., None] / 127.5 - 1)
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))


PLACES: tuple[Callable[[np.random.Generator, tuple[int, int]], Image.Image], ...] = (
    _hills,
    _tiles,
    _wallpaper,
    _lights,
    _clouds,
)
