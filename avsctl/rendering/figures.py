"""What all charts share: a figure that draws off screen, its colours, and its PNG."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#3b6fb6", "#d1495b", "#2e8b57", "#e09f3e", "#6c4a9e", "#5c677d")
"""Of lines and bars, in order."""


def new_figure(width: float, height: float, *, dpi: int) -> Figure:
    """Make an empty figure of a size in inches."""
    # Without pyplot: draws off screen whatever the user's display settings are, and leaks no figures.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all; an existing file is replaced."""
    part = path.with_name(path.name + ".part")
    try:
        figure.savefig(part, format="png")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
