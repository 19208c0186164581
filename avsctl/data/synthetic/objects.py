"""Objects drawn with simple shapes: one silhouette per class, in any colour."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Paint:
    """The colours of one object; none of them depends on its class."""

    body: Colour
    shade: Colour
    light: Colour
    accent: Colour
    dark: Colour = (34, 32, 38)
    pale: Colour = (244, 240, 230)

    @classmethod
    def from_hue(cls, hue: float, saturation: float, value: float, accent_hue: float) -> Paint:
        """Derive a set of matching colours from one colour; all arguments in [0, 1]."""
        return cls(
            body=hsv(hue, saturation, value),
            shade=hsv(hue, min(1.0, saturation * 1.1), value * 0.66),
            light=hsv(hue, saturation * 0.55, min(1.0, value * 1.15 + 0.08)),
            accent=hsv(accent_hue, 0.75, 0.9),
        )


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour from hue, saturation and value in [0, 1] (the hue wraps round)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


class Pen:
    """Draws on a square RGBA picture in coordinates from 0 to 1, x to the right and y down."""

    def __init__(self, image: Image.Image):
        self.draw = ImageDraw.Draw(image)
        self.side = image.width

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        self.draw.polygon([(x * self.side, y * self.side) for x, y in points], fill=(*fill, 255))

    def blob(self, points: Sequence[Point], fill: Colour) -> None:
        """A closed smooth curve through the points (Catmull-Rom)."""
        p1 = np.asarray(points, dtype=float)
        p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
        t = np.linspace(0, 1, 7)[:-1][None, :, None]
        a, b, c, d = (p[:, None] for p in (p0, p1, p2, p3))
        curve = b + 0.5 * t * ((c - a) + t * ((2 * a - 5 * b + 4 * c - d) + t * (3 * (b - c) + d - a)))
        self.polygon([tuple(point) for point in curve.reshape(-1, 2)], fill)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        s = self.side
        self.draw.ellipse([(x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s], fill=(*fill, 255))

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour, radius: float = 0.0) -> None:
        s = self.side
        self.draw.rounded_rectangle([x0 * s, y0 * s, x1 * s, y1 * s], radius=radius * s, fill=(*fill, 255))

    def stroke(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """A line with round ends and joints."""
        scaled = [(x * self.side, y * self.side) for x, y in points]
        self.draw.line(scaled, fill=(*fill, 255), width=max(1, round(width * self.side)), joint="curve")
        for x, y in (points[0], points[-1]):
            self.ellipse(x, y, width / 2, width / 2, fill)


Draw = Callable[[Pen, Paint, float], None]
"""Draws a class: `pose` runs through [-1, 1] and moves what can move."""


def _bell(pen: Pen, paint: Paint, pose: float) -> None:
    pen.ellipse(0.5, 0.13, 0.09, 0.09, paint.shade)
    pen.ellipse(0.5 + 0.12 * pose, 0.86, 0.11, 0.1, paint.dark)
    pen.blob([(0.5, 0.14), (0.66, 0.2), (0.74, 0.38), (0.78, 0.6), (0.92, 0.8),
              (0.5, 0.83), (0.08, 0.8), (0.22, 0.6), (0.26, 0.38), (0.34, 0.2)], paint.body)  # fmt: skip
    pen.blob([(0.36, 0.26), (0.42, 0.25), (0.36, 0.45), (0.32, 0.62), (0.28, 0.6), (0.3, 0.42)], paint.light)
    pen.box(0.06, 0.76, 0.94, 0.85, paint.shade, 0.04)


def _bird(pen: Pen, paint: Paint, pose: float) -> None:
    tip = 0.1 + 0.12 * pose
    pen.polygon([(0.93, 0.4), (1.0, 0.47), (0.9, 0.5)], paint.accent)
    pen.polygon([(0.28, 0.56), (0.0, 0.44), (0.06, 0.6), (0.0, 0.74), (0.3, 0.66)], paint.shade)
    pen.polygon([(0.55, 0.5), (0.52, tip), (0.7, tip + 0.12), (0.72, 0.5)], paint.shade)
    pen.blob(
        [(0.14, 0.6), (0.4, 0.46), (0.66, 0.42), (0.84, 0.5), (0.72, 0.68), (0.48, 0.74), (0.3, 0.7)],
        paint.body,
    )
    pen.ellipse(0.82, 0.44, 0.13, 0.12, paint.body)
    pen.blob([(0.66, 0.52), (0.5, 0.34), (0.3, tip + 0.02), (0.12, tip), (0.22, 0.34), (0.4, 0.6)], paint.light)
    pen.ellipse(0.86, 0.41, 0.028, 0.03, paint.dark)


def _boat(pen: Pen, paint: Paint, pose: float) -> None:
    belly = 0.04 * pose
    pen.box(0.47, 0.03, 0.51, 0.75, paint.dark)
    pen.blob([(0.54, 0.06), (0.7 + belly, 0.3), (0.92, 0.64), (0.74, 0.66), (0.54, 0.66), (0.55, 0.36)], paint.pale)
    pen.polygon([(0.44, 0.12), (0.44, 0.66), (0.1, 0.66)], paint.accent)
    pen.polygon([(0.51, 0.02), (0.51, 0.1), (0.64, 0.06)], paint.accent)
    pen.polygon([(0.02, 0.72), (0.98, 0.72), (0.86, 0.95), (0.17, 0.95)], paint.body)
    pen.polygon([(0.02, 0.72), (0.98, 0.72), (0.95, 0.78), (0.05, 0.78)], paint.shade)


def _car(pen: Pen, paint: Paint, pose: float) -> None:
    pen.blob(
        [(0.24, 0.5), (0.3, 0.32), (0.42, 0.27), (0.6, 0.28), (0.72, 0.36), (0.82, 0.52), (0.5, 0.56)],
        paint.shade,
    )
    pen.polygon([(0.31, 0.49), (0.36, 0.34), (0.49, 0.33), (0.49, 0.49)], paint.pale)
    pen.polygon([(0.53, 0.49), (0.53, 0.33), (0.63, 0.34), (0.73, 0.49)], paint.pale)
    pen.box(0.02, 0.48, 0.98, 0.7, paint.body, 0.08)
    pen.box(0.02, 0.62, 0.98, 0.7, paint.shade, 0.04)
    pen.ellipse(0.94, 0.55, 0.035, 0.035, paint.accent)
    for x in (0.24, 0.76):
        pen.ellipse(x, 0.7, 0.13, 0.13, paint.dark)
        pen.ellipse(x, 0.7, 0.06, 0.06, paint.pale)
        spoke = np.pi * pose
        dx, dy = 0.05 * np.cos(spoke), 0.05 * np.sin(spoke)
        pen.stroke([(x - dx, 0.7 - dy), (x + dx, 0.7 + dy)], 0.025, paint.dark)


def _cat(pen: Pen, paint: Paint, pose: float) -> None:
    sway = 0.06 * pose
    pen.stroke([(0.68, 0.88), (0.86, 0.86), (0.93, 0.7), (0.88 + sway, 0.52), (0.93 + sway, 0.4)], 0.085, paint.shade)
    pen.blob(
        [(0.5, 0.4), (0.66, 0.5), (0.76, 0.78), (0.7, 0.96), (0.3, 0.96), (0.24, 0.78), (0.34, 0.5)],
        paint.body,
    )
    pen.blob([(0.5, 0.56), (0.58, 0.66), (0.57, 0.9), (0.43, 0.9), (0.42, 0.66)], paint.light)
    for side in (-1, 1):
        pen.polygon([(0.5 + side * 0.06, 0.2), (0.5 + side * 0.25, 0.02), (0.5 + side * 0.26, 0.34)], paint.body)
        pen.polygon([(0.5 + side * 0.12, 0.19), (0.5 + side * 0.22, 0.09), (0.5 + side * 0.22, 0.26)], paint.accent)
        pen.ellipse(0.5 + side * 0.13, 0.95, 0.09, 0.045, paint.light)
    pen.ellipse(0.5, 0.34, 0.27, 0.21, paint.body)
    for side in (-1, 1):
        pen.ellipse(0.5 + side * 0.11, 0.31, 0.045, 0.05, paint.pale)
        pen.ellipse(0.5 + side * 0.11 + 0.01, 0.31, 0.018, 0.045, paint.dark)
    pen.polygon([(0.46, 0.4), (0.54, 0.4), (0.5, 0.45)], paint.dark)


def _clock(pen: Pen, paint: Paint, pose: float) -> None:
    pen.ellipse(0.5, 0.5, 0.48, 0.48, paint.shade)
    pen.ellipse(0.5, 0.5, 0.45, 0.45, paint.body)
    pen.ellipse(0.5, 0.5, 0.36, 0.36, paint.pale)
    for hour in range(12):
        angle = np.pi * hour / 6
        x, y = np.cos(angle), np.sin(angle)
        inner = 0.26 if hour % 3 == 0 else 0.29
        pen.stroke([(0.5 + inner * x, 0.5 + inner * y), (0.5 + 0.33 * x, 0.5 + 0.33 * y)], 0.03, paint.dark)
    for length, width, angle in ((0.2, 0.055, 2.1 + 2 * pose), (0.28, 0.035, np.pi * pose)):
        pen.stroke([(0.5, 0.5), (0.5 + length * np.sin(angle), 0.5 - length * np.cos(angle))], width, paint.dark)
    pen.ellipse(0.5, 0.5, 0.045, 0.045, paint.accent)


def _dog(pen: Pen, paint: Paint, pose: float) -> None:
    step = 0.04 * pose
    pen.stroke([(0.14, 0.5), (0.06, 0.38), (0.06 + step, 0.24)], 0.075, paint.body)
    for x, lift, tone in ((0.27, -step, paint.shade), (0.66, step, paint.shade)):
        pen.stroke([(x, 0.6), (x + lift, 0.92)], 0.1, tone)
    pen.blob([(0.1, 0.52), (0.22, 0.43), (0.5, 0.46), (0.7, 0.4), (0.76, 0.56), (0.66, 0.7),
              (0.4, 0.66), (0.2, 0.7), (0.1, 0.62)], paint.body)  # fmt: skip
    for x, lift in ((0.18, step), (0.58, -step)):
        pen.stroke([(x, 0.6), (x + lift, 0.92), (x + lift + 0.05, 0.93)], 0.11, paint.body)
    pen.blob(
        [(0.6, 0.5), (0.62, 0.3), (0.7, 0.2), (0.8, 0.2), (0.88, 0.28), (0.82, 0.44), (0.74, 0.56)],
        paint.body,
    )
    pen.box(0.78, 0.27, 0.99, 0.42, paint.light, 0.06)
    pen.ellipse(0.97, 0.29, 0.035, 0.035, paint.dark)
    pen.blob([(0.64, 0.2), (0.74, 0.19), (0.75, 0.36), (0.7, 0.5), (0.62, 0.46), (0.6, 0.32)], paint.shade)
    pen.ellipse(0.81, 0.26, 0.025, 0.028, paint.dark)
    pen.stroke([(0.62, 0.52), (0.76, 0.5)], 0.045, paint.accent)


def _drum(pen: Pen, paint: Paint, pose: float) -> None:
    lift = 0.08 * pose
    pen.ellipse(0.5, 0.82, 0.44, 0.15, paint.shade)
    pen.box(0.06, 0.4, 0.94, 0.82, paint.body)
    zigzag = [(0.08 + 0.14 * i, 0.5 if i % 2 else 0.82 + 0.02 * min(i, 6 - i)) for i in range(7)]
    pen.stroke(zigzag, 0.03, paint.pale)
    pen.ellipse(0.5, 0.42, 0.46, 0.17, paint.accent)
    pen.ellipse(0.5, 0.4, 0.41, 0.135, paint.pale)
    for x0, x1, y in ((0.1, 0.42, 0.1 + lift), (0.92, 0.6, 0.1 - lift)):
        pen.stroke([(x0, y), (x1, 0.38)], 0.045, paint.shade)
        pen.ellipse(x1, 0.38, 0.04, 0.04, paint.dark)


def _guitar(pen: Pen, paint: Paint, pose: float) -> None:
    pen.box(0.455, 0.1, 0.545, 0.55, paint.dark)
    pen.box(0.43, 0.0, 0.57, 0.14, paint.shade, 0.02)
    for y in (0.03, 0.1):
        pen.ellipse(0.41, y, 0.025, 0.025, paint.pale)
        pen.ellipse(0.59, y, 0.025, 0.025, paint.pale)
    outline = [(0.5, 0.42), (0.64, 0.43), (0.69, 0.53), (0.64, 0.62), (0.74, 0.72), (0.77, 0.86),
               (0.65, 0.98), (0.5, 0.99), (0.35, 0.98), (0.23, 0.86), (0.26, 0.72), (0.36, 0.62),
               (0.31, 0.53), (0.36, 0.43)]  # fmt: skip
    pen.blob(outline, paint.shade)
    pen.blob([(0.5 + 0.9 * (x - 0.5), 0.7 + 0.9 * (y - 0.7)) for x, y in outline], paint.body)
    pen.box(0.455, 0.3, 0.545, 0.58, paint.dark)
    pen.ellipse(0.5, 0.66, 0.1, 0.1, paint.dark)
    pen.box(0.38, 0.84, 0.62, 0.88, paint.dark)
    for i in range(4):
        x = 0.468 + 0.021 * i
        pen.stroke([(x, 0.08), (x + 0.004 * pose, 0.5), (x, 0.85)], 0.007, paint.pale)


def _helicopter(pen: Pen, paint: Paint, pose: float) -> None:
    reach = 0.36 + 0.12 * abs(pose)
    pen.stroke([(0.3, 0.86), (0.88, 0.86), (0.95, 0.81)], 0.035, paint.dark)
    for x in (0.44, 0.74):
        pen.stroke([(x, 0.66), (x - 0.03, 0.86)], 0.03, paint.dark)
    pen.polygon([(0.42, 0.46), (0.08, 0.4), (0.08, 0.47), (0.42, 0.64)], paint.shade)
    pen.polygon([(0.02, 0.28), (0.09, 0.26), (0.15, 0.44), (0.06, 0.46)], paint.body)
    pen.box(0.57, 0.2, 0.61, 0.38, paint.dark)
    pen.stroke([(0.59 - reach * 1.1, 0.2), (0.59 + reach, 0.2)], 0.035, paint.dark)
    pen.blob([(0.36, 0.44), (0.5, 0.35), (0.72, 0.35), (0.88, 0.46), (0.94, 0.62), (0.8, 0.74), (0.5, 0.74),
              (0.36, 0.62)], paint.body)  # fmt: skip
    pen.blob([(0.7, 0.41), (0.82, 0.47), (0.89, 0.59), (0.7, 0.6)], paint.pale)
    pen.box(0.48, 0.44, 0.62, 0.58, paint.light, 0.03)


def _piano(pen: Pen, paint: Paint, pose: float) -> None:
    pen.box(0.04, 0.1, 0.96, 0.9, paint.body, 0.02)
    pen.box(0.0, 0.08, 1.0, 0.15, paint.shade, 0.02)
    pen.box(0.12, 0.2, 0.88, 0.4, paint.shade, 0.02)
    pen.polygon([(0.36, 0.2), (0.64, 0.2), (0.62, 0.42), (0.38, 0.42)], paint.pale)
    pen.box(0.0, 0.44, 1.0, 0.66, paint.dark, 0.02)
    pen.box(0.04, 0.47, 0.96, 0.62, paint.pale)
    pressed = round((pose + 1) * 4.5)
    for key in range(1, 11):
        x = 0.04 + 0.92 * key / 11
        pen.box(x - 0.004, 0.47, x + 0.004, 0.62, paint.dark)
        if key % 4:
            pen.box(x - 0.025, 0.47, x + 0.025, 0.565, paint.dark)
        if key == pressed:
            pen.box(x - 0.07, 0.58, x - 0.012, 0.62, paint.accent)
    pen.box(0.14, 0.74, 0.86, 0.84, paint.shade, 0.02)
    for x in (0.04, 0.86):
        pen.box(x, 0.66, x + 0.1, 0.96, paint.shade, 0.02)


def _train(pen: Pen, paint: Paint, pose: float) -> None:
    pen.polygon([(0.7, 0.1), (0.92, 0.1), (0.86, 0.24), (0.86, 0.42), (0.76, 0.42), (0.76, 0.24)], paint.dark)
    pen.ellipse(0.58, 0.36, 0.07, 0.09, paint.accent)
    pen.box(0.36, 0.36, 0.96, 0.68, paint.body, 0.05)
    pen.box(0.9, 0.34, 0.98, 0.7, paint.shade, 0.03)
    for x in (0.5, 0.68):
        pen.box(x, 0.36, x + 0.03, 0.68, paint.light)
    pen.box(0.06, 0.2, 0.4, 0.74, paint.shade)
    pen.box(0.01, 0.13, 0.45, 0.21, paint.dark, 0.02)
    pen.box(0.12, 0.28, 0.34, 0.46, paint.pale, 0.02)
    pen.box(0.04, 0.66, 0.97, 0.78, paint.dark)
    pen.polygon([(0.9, 0.72), (0.99, 0.94), (0.82, 0.94)], paint.accent)
    for x, r in ((0.2, 0.14), (0.48, 0.11), (0.7, 0.11)):
        pen.ellipse(x, 0.96 - r, r, r, paint.dark)
        pen.ellipse(x, 0.96 - r, r * 0.68, r * 0.68, paint.accent)
    y = 0.84 + 0.03 * pose
    pen.stroke([(0.2, y), (0.7, y)], 0.03, paint.pale)


DRAWINGS: dict[str, Draw] = {
    "bell": _bell, "bird": _bird, "boat": _boat, "car": _car, "cat": _cat, "clock": _clock, "dog": _dog,
    "drum": _drum, "guitar": _guitar, "helicopter": _helicopter, "piano": _piano, "train": _train,
}  # fmt: skip
"""How each class is drawn, facing right, in a unit square that it nearly fills."""

SUPERSAMPLING = 3


def draw_object(name: str, paint: Paint, side: int, pose: float, angle: float, flipped: bool) -> Image.Image:
    """Draw one object, turned and seen from one side.

    Args:
        name: a key of `DRAWINGS`.
        side: pixels along the unit square before turning.
        pose: in [-1, 1], moves legs, wings, hands of a clock.
        angle: degrees, anticlockwise.
    Returns: RGBA picture, cropped to the object.
    """
    large = Image.new("RGBA", (side * SUPERSAMPLING,) * 2)
    DRAWINGS[name](Pen(large), paint, pose)
    if flipped:
        large = large.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    large = large.rotate(angle, Image.Resampling.NEAREST, expand=True)  # reducing smooths it
    small = large.reduce(SUPERSAMPLING)
    return small.crop(small.getbbox())
