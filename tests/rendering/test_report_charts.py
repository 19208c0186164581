"""Charts for a page with a strict policy: no styles, the page's colours, texts as texts."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from avsctl.rendering.report.charts import Line, finite_points, line_chart, point_chart

HOSTILE = '<script>alert(1)</script> $x_{ & "quoted"'


def chart(name="curve", **given):
    lines = [Line(HOSTILE, [(1, 0.2), (2, 0.5), (3, 0.4)], best=1), Line("other", [(1, 0.1)])]
    return line_chart(lines, title=HOSTILE, x="epoch", y="mIoU", name=name, **given)


def test_a_chart_is_one_svg_without_styles_scripts_or_loose_ids():
    svg = chart()
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg") and root.get("role") == "img" and root.get("aria-label") == HOSTILE
    assert "style" not in svg and "<script" not in svg and "metadata" not in svg
    ids = re.findall(r' id="([^"]+)"', svg)
    assert all(name.startswith("curve-") for name in ids)
    assert set(re.findall(r"#([\w-]+)", svg)) <= set(ids)
    assert not set(ids) & set(re.findall(r' id="([^"]+)"', chart("second")))
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert HOSTILE in texts and "other" in texts


def test_its_colours_are_the_pages():
    svg = chart()
    names = set(re.findall(r'"var\(--([^"]+)\)"', svg))
    assert {"series-1", "series-2", "muted", "line"} <= names
    assert not re.search(r'"#0[12]0', svg)


def test_the_same_lines_give_the_same_bytes():
    assert chart(from_zero=True) == chart(from_zero=True)


def test_points_are_named_and_levels_drawn():
    svg = point_chart(
        {"run": {"oracle": (100, 60), "low": (40, 20)}}, {"single": 30}, title="t", x="x", y="y", name="p"
    )
    texts = [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]
    assert {"oracle", "low", "run", "single"} <= set(texts)
    assert "stroke-dasharray" in svg


def test_only_finite_numbers_are_drawn():
    history = [{"epoch": 1, "loss": 2}, {"loss": float("nan")}, {"epoch": "3", "loss": 1}, 7, {"loss": True},
               {"epoch": 6, "loss": None}, {"epoch": 7, "loss": 0.5}]  # fmt: skip
    assert finite_points(history, "loss") == [(1, 2.0), (7, 0.5)]
    assert line_chart([Line("empty", [])], title="t", x="x", y="y", name="n").startswith("<svg")
