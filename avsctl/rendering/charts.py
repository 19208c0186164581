"""Charts of experiments: bars with their spread, ours beside the paper's, and a curve over the prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avsctl.rendering.figures import COLOURS, new_figure, save_figure


@dataclass(frozen=True)
class Bars:
    """One group of bars for each column, one colour for each row.

    Args:
        title: over the bars.
        values: percent by row and column; a place that is not there has no bar.
        spreads: half the length of a bar's whisker, where there is one.
    """

    title: str
    values: Mapping[tuple[str, str], float]
    spreads: Mapping[tuple[str, str], float]


def draw_bars(
    panels: Sequence[Bars], rows: Sequence[str], columns: Sequence[str], path: Path, *, title: str, score: str = "mIoU"
) -> Path:
    """Draw panels side by side as a PNG, each on its own scale from 0.

    Args: rows, columns: in order; a row has the same colour in every panel.
    """
    # As wide as the bars need, so that their labels don't run into each other.
    width = max(4.2, 0.9 + 0.42 * len(columns) * (len(rows) + 0.8))
    figure = new_figure(width * len(panels), 4.0, dpi=110)
    for number, (axes, panel) in enumerate(zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True)):
        _draw_panel(axes, panel, rows, columns)
        if number == 0:
            axes.set_ylabel(f"{score} (%)")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if len(rows) > 1:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(rows), 3), frameon=False)
    figure.suptitle(title, fontweight="bold")
    return save_figure(figure, path)


def _draw_panel(axes, panel: Bars, rows: Sequence[str], columns: Sequence[str]) -> None:
    shown = [column for column in columns if any((row, column) in panel.values for row in rows)]
    width = 0.8 / max(len(rows), 1)
    for number, row in enumerate(rows):
        here = [place for place, column in enumerate(shown) if (row, column) in panel.values]
        heights = [panel.values[row, shown[place]] for place in here]
        x = [place + (number - (len(rows) - 1) / 2) * width for place in here]
        whiskers = [panel.spreads.get((row, shown[place]), 0.0) for place in here]
        bars = axes.bar(x, heights, width * 0.92, color=COLOURS[number % len(COLOURS)], label=row)
        if any(whiskers):
            axes.errorbar(x, heights, whiskers, fmt="none", ecolor="#222222", elinewidth=1, capsize=2.5)
        for bar, height, whisker in zip(bars, heights, whiskers, strict=True):
            axes.annotate(
                f"{height:.1f}", (bar.get_x() + bar.get_width() / 2, height + whisker), xytext=(0, 2),
                textcoords="offset points", ha="center", fontsize=7,
            )  # fmt: skip
    axes.set_xticks(range(len(shown)), shown)
    axes.set_title(panel.title, fontsize=10)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.06)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


@dataclass(frozen=True)
class Curve:
    """A score over the prior's mIoU, all in percent.

    Args:
        points: (x, y, half of y's spread), ascending in x. single: the single stage's score and half its spread.
        break_even: where the curve rises through it, or None.
    """

    label: str
    points: Sequence[tuple[float, float, float]]
    single: tuple[float, float] | None
    break_even: float | None


def draw_prior_curves(curves: Sequence[Curve], path: Path, *, title: str) -> Path:
    """Draw stage 2's mIoU over its prior's, and the single stage's as a level line, as a PNG."""
    figure = new_figure(6.6, 4.2, dpi=110)
    axes = figure.subplots()
    for curve, colour in zip(curves, COLOURS * len(curves), strict=False):
        _draw_curve(axes, curve, colour)
    axes.set(xlabel="mIoU of the prior (%)", ylabel="semantic mIoU (%)")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.05)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    axes.set_title(title, fontweight="bold", fontsize=11)
    return save_figure(figure, path)


def _draw_curve(axes, curve: Curve, colour: str) -> None:
    if not curve.points:
        return
    x, y, spread = (list(values) for values in zip(*curve.points, strict=True))
    axes.plot(x, y, color=colour, marker="o", ms=4, lw=1.8, label=f"{curve.label}, two stages")
    low, high = ([value + sign * half for value, half in zip(y, spread, strict=True)] for sign in (-1, 1))
    axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
    if curve.single is None:
        return
    level, half = curve.single
    axes.axhline(level, color=colour, ls="--", lw=1.3, label=f"{curve.label}, single stage")
    axes.axhspan(level - half, level + half, color=colour, alpha=0.08, lw=0)
    if curve.break_even is not None:
        axes.plot([curve.break_even] * 2, [0, level], color=colour, ls=":", lw=1.2)
        axes.annotate(
            f"break-even {curve.break_even:.1f}", (curve.break_even, level), xytext=(6, -12),
            textcoords="offset points", fontsize=8, color=colour,
        )  # fmt: skip
