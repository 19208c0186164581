"""Charts as SVG that takes its colours and font from the page around it.

matplotlib draws them, which is installed anyway: the page then needs no chart library, shows its charts without
JavaScript, and prints. One picture serves the light and the dark scheme, for its colours are the page's variables.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

SERIES = 8
"""Number of different line colours on the page: `--series-1` to `--series-8`."""

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_INK, _GRID = "#010101", "#010102"
_VARIABLES = {_INK: "var(--muted)", _GRID: "var(--line)"} | {
    f"#0201{n:02x}": f"var(--series-{n})" for n in range(1, SERIES + 1)
}
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "avsctl",
    "text.color": _INK,
    "text.parse_math": False,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _GRID,
    "font.size": 9,
}
_DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Line:
    """One line of a chart: its points in order, and which of them to mark as the best (None: none)."""

    name: str
    points: Sequence[tuple[float, float]]
    best: int | None = None


def line_chart(lines: Sequence[Line], *, title: str, x: str, y: str, name: str, from_zero: bool = False) -> str:
    """Draw lines over whole numbers, such as epochs.

    Args:
        title: what a screen reader says of the picture. x, y: the axes' labels.
        name: a word for ids, unique on the page.
        from_zero: whether the y axis starts at 0.
    Returns: an `<svg>` element.
    """

    def draw(axes: Any) -> None:
        for number, line in enumerate(lines):
            colour, dash = _style(number)
            px, py = zip(*line.points, strict=True) if line.points else ((), ())
            axes.plot(px, py, color=colour, ls=dash, lw=1.8, marker="o" if len(px) < 25 else "", ms=3, label=line.name)
            if line.best is not None:
                axes.plot(px[line.best], py[line.best], "o", ms=8, mfc="none", mec=colour, mew=1.6)
        axes.set(xlabel=x, ylabel=y)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if from_zero:
            axes.set_ylim(0, max(axes.get_ylim()[1] * 1.05, 1e-3))

    return _chart(draw, title, name)


def point_chart(
    points: Mapping[str, Mapping[str, tuple[float, float]]],
    levels: Mapping[str, float],
    *,
    title: str,
    x: str,
    y: str,
    name: str,
) -> str:
    """Draw named points of several series joined by a line, and horizontal levels to compare them with.

    Args:
        points: by series, by point's name: (x, y). levels: y by name.
        The rest is as for `line_chart`.
    """

    def draw(axes: Any) -> None:
        for number, (series, named) in enumerate(points.items()):
            colour, dash = _style(number)
            ordered = sorted(named.items(), key=lambda item: item[1])
            axes.plot(*zip(*(at for _, at in ordered), strict=True), color=colour, ls=dash, marker="o", label=series)
            for place, (label, at) in enumerate(ordered):
                # Above and below in turn: priors of like accuracy lie close together.
                offset = (0, 7 if place % 2 == 0 else -13)
                axes.annotate(label, at, xytext=offset, textcoords="offset points", ha="center", fontsize=8)
        for number, (label, level) in enumerate(levels.items(), start=len(points)):
            axes.axhline(level, color=_style(number)[0], ls="--", lw=1.4, label=label)
        axes.set(xlabel=x, ylabel=y)
        axes.margins(0.14, 0.2)

    return _chart(draw, title, name)


def finite_points(history: Sequence[Any], key: str) -> list[tuple[float, float]]:
    """(epoch, value) of a run's history; what is missing or no finite number is left out."""
    points = []
    for number, entry in enumerate(history, start=1):
        if not isinstance(entry, Mapping):
            continue
        value, epoch = _number(entry.get(key)), _number(entry.get("epoch", number))
        if value is not None and epoch is not None:
            points.append((epoch, value))
    return points


def _number(value: Any) -> float | None:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if plain else None


def _style(number: int) -> tuple[str, str]:
    return f"#0201{number % SERIES + 1:02x}", _DASHES[number // SERIES % len(_DASHES)]


def _chart(draw: Callable[[Any], None], title: str, name: str) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(4.6, 3.1), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.grid(lw=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        handles, labels = axes.get_legend_handles_labels()
        if len(handles) > 1:
            # Below the picture, so that long names of runs never cover the lines.
            figure.legend(handles, labels, loc="outside lower left", frameon=False, ncols=1, fontsize=8)
            figure.set_size_inches(4.6, 3.1 + 0.17 * len(handles))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(buffer.getvalue(), title, name)


def _for_page(svg: str, title: str, name: str) -> str:
    """Strip what a page forbids or doesn't need (styles, metadata, loose ids) and colour by the page's variables."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(svg)
    for tag in ("metadata", "defs"):
        for child in root.findall(f"{{{_SVG}}}{tag}"):
            if tag == "metadata" or child.find(f"{{{_SVG}}}style") is not None:
                root.remove(child)
    used = set(re.findall(r"#([pm][0-9a-f]{8,})", svg))
    for element in root.iter():
        _style_as_attributes(element)
        for key, value in list(element.attrib.items()):
            if key == "id":
                if value in used:
                    element.set("id", f"{name}-{value}")
                else:
                    del element.attrib["id"]
            elif key == f"{{{_XLINK}}}href" or key == "clip-path":
                element.set(key, value.replace("#", f"#{name}-"))
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "class": "chart", "aria-label": title}
    return ElementTree.tostring(root, encoding="unicode")


def _style_as_attributes(element: ElementTree.Element) -> None:
    """A strict content security policy blocks `style`, never `fill` or `stroke`."""
    for part in element.attrib.pop("style", "").split(";"):
        key, _, value = (word.strip() for word in part.partition(":"))
        if key and key != "font-family":
            element.set(key, _VARIABLES.get(value, value))
