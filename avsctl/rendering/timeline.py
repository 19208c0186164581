"""A picture of what sounds when: the sound's loudness, and below it a bar for each stretch of each class."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avsctl.rendering.overlay import vivid

_INK, _FAINT = "#1c1e22", "#8a8f98"
_COLUMNS = 1200  # of the loudness curve: more than it has pixels shows no more


@dataclass(frozen=True)
class Group:
    """Bars that belong together, such as those of one run.

    Attributes:
        title: Written above its bars; may be empty.
        classes: By name: `colour` (three numbers 0 to 255), `intervals` ([[start, end], …] in seconds), `confidence`.
    """

    title: str
    classes: Mapping[str, Mapping[str, Any]]


def draw_timeline(
    groups: Sequence[Group],
    span: tuple[float, float],
    path: str | Path,
    *,
    sound: tuple[np.ndarray, int] | None = None,
    title: str = "",
) -> Path:
    """Draw a PNG with time from left to right.

    Args:
        groups: At least one; its classes from top to bottom, a line of text where nothing sounds.
        span: First and last second shown.
        path: The PNG to write, whole or not at all; an existing one is replaced.
        sound: (samples, channels) whose sample 0 sounds at second 0, and its rate; None says so in its place.
    Raises: ValueError: If there is no group, or the span is empty.
    """
    if not groups or span[1] <= span[0]:
        raise ValueError(f"a timeline needs a group and a span above 0 s, not {len(groups)} groups in {span}")
    # Figure without pyplot: draws off screen whatever the user's display settings are, and leaks no figures.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [max(1, len(group.classes)) for group in groups]
    height = 1.15 + 0.34 * sum(rows) + 0.3 * len(groups)
    figure = Figure(figsize=(10, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(groups) + 1, 1, sharex=True, height_ratios=[2.0, *(row + 0.4 for row in rows)])
    _loudness(axes[0], sound, span)
    for group, part in zip(groups, axes[1:], strict=True):
        _bars(part, group, span)
    axes[-1].set_xlabel("seconds", color=_INK)
    axes[-1].set_xlim(*span)
    if title:
        figure.suptitle(title, fontweight="bold", color=_INK, parse_math=False)
    return _save(figure, Path(path))


def _loudness(axes, sound: tuple[np.ndarray, int] | None, span: tuple[float, float]) -> None:
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_ylabel("sound", rotation=0, ha="right", va="center", color=_INK)
    if sound is None:
        axes.text(0.5, 0.5, "no sound", ha="center", va="center", transform=axes.transAxes, color=_FAINT)
        return
    wave, rate = sound
    edges = np.linspace(*span, _COLUMNS + 1)
    first = np.clip((edges * rate).astype(int), 0, len(wave))
    mono = np.abs(np.asarray(wave, np.float32).reshape(len(wave), -1)).max(1)
    pairs = zip(first[:-1], first[1:], strict=True)
    peaks = np.array([mono[a : max(b, a + 1)].max(initial=0.0) for a, b in pairs])
    top = max(float(peaks.max()), 1e-3)
    middle = (edges[:-1] + edges[1:]) / 2
    axes.fill_between(middle, -peaks, peaks, color="#5b6b86", lw=0)
    axes.set_ylim(-top * 1.05, top * 1.05)


def _bars(axes, group: Group, span: tuple[float, float]) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    if group.title:
        axes.set_title(group.title, loc="left", fontsize=10, color=_INK, parse_math=False)
    names = list(group.classes)
    axes.set_ylim(max(1, len(names)) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], parse_math=False)
    axes.tick_params(axis="y", length=0)
    if not names:
        axes.text(0.5, 0.5, "nothing sounds", ha="center", va="center", transform=axes.transAxes, color=_FAINT)
    for row, content in enumerate(group.classes.values()):
        colour = vivid(np.array(content["colour"])) / 255
        stretches = [(start, end - start) for start, end in content["intervals"]]
        axes.broken_barh(stretches, (row - 0.34, 0.68), facecolor=colour, edgecolor=_INK, linewidth=0.6)


def _save(figure, path: Path) -> Path:
    part = path.with_name(path.name + ".part")
    try:
        figure.savefig(part, format="png")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
