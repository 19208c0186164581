"""Random views of a clip for training from scratch: the same mirror, cut and colours for all its frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

SMALLEST_CUT = 0.65
"""Smallest side of a cut, as a share of the picture's."""


@dataclass(frozen=True)
class View:
    """One random view.

    Args:
        left, top, right, bottom: the cut, as shares of width and height.
        mirrored: whether left and right are swapped.
        gains: of red, green and blue.
    """

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0
    mirrored: bool = False
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> View:
        """A cut of 65 to 100 % of each side, mirrored half of the time, each colour 20 % up or down."""
        width, height = rng.uniform(SMALLEST_CUT, 1.0, 2)
        left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        red, green, blue = (float(gain) for gain in rng.uniform(0.8, 1.2, 3))
        return cls(left, top, left + width, top + height, bool(rng.random() < 0.5), (red, green, blue))

    def frame(self, picture: Image.Image, size: int) -> np.ndarray:
        """(size, size, 3) uint8 of a picture, resized bilinearly (Pillow's, as the released readers do)."""
        seen = np.asarray(self._see(picture, (size, size), Image.Resampling.BILINEAR))
        if self.gains == (1.0, 1.0, 1.0):
            return seen
        return np.clip(seen * np.array(self.gains, np.float32), 0, 255).astype(np.uint8)

    def map(self, values: np.ndarray, *, nearest: bool = False) -> np.ndarray:
        """A map (h, w), uint8 or float32, seen the same way at its own size, bilinearly or by nearest neighbour."""
        how = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
        return np.asarray(self._see(Image.fromarray(values), values.shape[::-1], how))

    def _see(self, picture: Image.Image, size: tuple[int, int], how: Image.Resampling) -> Image.Image:
        width, height = picture.size
        box = (self.left * width, self.top * height, self.right * width, self.bottom * height)
        seen = picture.resize(size, how, box=box)
        return seen.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.mirrored else seen
