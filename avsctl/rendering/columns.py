"""Pictures beside each other under labels: the frames of a comparison as a video."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from avsctl.rendering.images import checked_rgb
from avsctl.rendering.overlay import load_font

MAX_WIDTH = 1920
MIN_CELL, MAX_CELL = 280, 640
_PAPER, _INK, _EMPTY, _FAINT = (24, 26, 30), (240, 240, 236), (52, 54, 60), (150, 152, 158)
_GAP = 6


class Columns:
    """Lays one picture per label out in a row, or in several rows where a row would be too wide.

    Args:
        labels: at least one, printed above its picture; long ones are cut in the middle, where names differ least.
        shape: (width, height) of the pictures, which keep their shape.

    Attributes:
        cell: (width, height) at which pictures are shown; draw them so, for legible names in them.
        size: (width, height) of the whole, both even.
    """

    def __init__(self, labels: Sequence[str], shape: tuple[int, int]) -> None:
        self._labels = list(labels)
        width, height = shape
        across = min(len(labels), max(1, MAX_WIDTH // MIN_CELL))
        self._rows = math.ceil(len(labels) / across)
        self._across = math.ceil(len(labels) / self._rows)
        cell = min(MAX_CELL, (MAX_WIDTH - _GAP) // self._across - _GAP)
        scale = min(cell / width, cell / height)
        self.cell = max(16, round(width * scale)), max(16, round(height * scale))
        self._font_size = max(13, min(22, self.cell[0] // 18))
        self._head = self._font_size + 12
        total = _GAP + self._across * (self.cell[0] + _GAP), _GAP + self._rows * (self._head + self.cell[1] + _GAP)
        self.size = total[0] + total[0] % 2, total[1] + total[1] % 2
        self._ground = self._draw_ground()

    def draw(self, pictures: Sequence[np.ndarray | None]) -> np.ndarray:
        """One frame: (H, W, 3) uint8 of `size`.

        Args:
            pictures: (h, w, 3) uint8 of `cell`'s size, one per label; None says that there is none.
        Raises: ValueError: If there are more or fewer than labels, or one has another size.
        """
        if len(pictures) != len(self._labels):
            raise ValueError(f"{len(pictures)} pictures for {len(self._labels)} labels")
        page = self._ground.copy()
        for number, picture in enumerate(pictures):
            if picture is None:
                continue
            if checked_rgb(picture).shape[1::-1] != self.cell:
                raise ValueError(f"a picture of {picture.shape[1::-1]} in cells of {self.cell}")
            x, y = self._place(number)
            page[y : y + self.cell[1], x : x + self.cell[0]] = picture
        return page

    def fit(self, picture: np.ndarray) -> np.ndarray:
        """A picture at the size of a cell."""
        image = Image.fromarray(checked_rgb(picture))
        method = Image.Resampling.BILINEAR if image.width > self.cell[0] else Image.Resampling.BICUBIC
        return np.asarray(image.resize(self.cell, method, reducing_gap=2.0))

    def _place(self, number: int) -> tuple[int, int]:
        row, column = divmod(number, self._across)
        x = _GAP + column * (self.cell[0] + _GAP)
        return x, _GAP + row * (self._head + self.cell[1] + _GAP) + self._head

    def _draw_ground(self) -> np.ndarray:
        image = Image.new("RGB", self.size, _PAPER)
        draw, font = ImageDraw.Draw(image), load_font(self._font_size)
        width, height = self.cell
        for number, label in enumerate(self._labels):
            x, y = self._place(number)
            text = shortened(label, lambda words: font.getlength(words) <= width - 8)
            draw.text((x + width / 2, y - self._head / 2), text, _INK, font=font, anchor="mm")
            draw.rectangle((x, y, x + width - 1, y + height - 1), fill=_EMPTY)
            draw.text((x + width / 2, y + height / 2), "none", _FAINT, font=font, anchor="mm")
        return np.array(image)


def shortened(text: str, fits) -> str:
    """The text, with its middle cut out until `fits(text)`; names of runs differ at their ends."""
    if fits(text):
        return text
    for kept in range(len(text) - 1, 1, -1):
        left = (kept + 1) // 2
        short = f"{text[:left].rstrip()}…{text[len(text) - (kept - left) :].lstrip()}"
        if fits(short):
            return short
    return "…"
