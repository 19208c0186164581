"""Learning-curve pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from avsctl.rendering.figures import COLOURS, new_figure, save_figure


def draw_curves(
    history: Sequence[Mapping[str, float]],
    path: str | Path,
    *,
    losses: Sequence[str] = ("loss",),
    scores: Sequence[str] = ("val_miou",),
    title: str = "",
) -> Path:
    """Draw losses (left) and scores with their best epoch (right) over the epochs as a PNG.

    Args:
        history: One mapping per epoch; `epoch` numbers it (default: counted from 1). Values that are absent,
            None or not finite are left out of the line.
        path: The PNG to write; an existing one is replaced.
        losses, scores: Which keys to draw; higher scores are better. Scores share an axis that starts at 0.
        title: Text above the picture.
    Raises: ValueError: If the history is empty.
    """
    if not history:
        raise ValueError("no epoch to draw: the history is empty")
    figure = new_figure(9, 3.6, dpi=120)
    left, right = figure.subplots(1, 2)
    _lines(left, history, losses, best=False)
    left.set(title="Loss", xlabel="epoch")
    _lines(right, history, scores, best=True)
    right.set(title="Validation", xlabel="epoch")
    if right.lines:
        right.set_ylim(0, right.get_ylim()[1] * 1.1)
    if title:
        figure.suptitle(title, fontweight="bold")
    return save_figure(figure, Path(path))


def _lines(axes, history: Sequence[Mapping[str, float]], keys: Sequence[str], *, best: bool) -> None:
    for key, colour in zip(keys, COLOURS * (len(keys) // len(COLOURS) + 1), strict=False):
        points = [
            (epoch.get("epoch", number), float(epoch[key]))
            for number, epoch in enumerate(history, start=1)
            if epoch.get(key) is not None and math.isfinite(epoch[key])
        ]
        if not points:
            continue
        x, y = zip(*points, strict=True)
        label = key.replace("_", " ")
        axes.plot(x, y, color=colour, lw=1.8, marker="o" if len(x) < 30 else "", ms=3.5, label=label)
        if best:
            top = max(range(len(y)), key=y.__getitem__)
            axes.plot(x[top], y[top], "o", ms=9, mfc="none", mec=colour, mew=1.6)
            axes.annotate(
                f"{y[top]:.3f}",
                (x[top], y[top]),
                xytext=(0, 9),
                color=colour,
                textcoords="offset points",
                ha="center",
                fontweight="bold",
            )
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(axes.lines) > (2 if best else 1):
        axes.legend(frameon=False)
    if not axes.lines:
        axes.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axes.transAxes, color="#888888")
