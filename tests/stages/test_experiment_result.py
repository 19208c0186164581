"""Numbers of a table that no report holds."""

from __future__ import annotations

import shlex

import pytest

from avsctl.rendering.charts import Bars, Curve, draw_bars, draw_prior_curves
from avsctl.stages.experiment_cells import option_words
from avsctl.stages.experiment_result import crossing


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (2.0, 0.5),  # halfway between 1 and 3
        (3.0, 0.6),  # a measured point
        (3.5, 0.72),
        (0.5, None),  # always better
        (5.0, None),  # never better
    ],
)
def test_break_even_lies_on_the_line_between_measured_points(level, expected):
    found = crossing([(0.4, 1.0), (0.6, 3.0), (0.84, 4.0)], level)
    assert found == (None if expected is None else pytest.approx(expected))


def test_break_even_of_a_curve_that_crosses_twice_is_where_it_stays_above():
    assert crossing([(0.4, 0.0), (0.5, 2.0), (0.6, 0.0), (0.7, 2.0)], 1.0) == pytest.approx(0.65)


def test_options_are_written_as_they_are_typed():
    words = option_words(
        {"epochs": 3, "augment": False, "shuffle": True, "lr": 0.001, "without": ("a", "b"), "x": None}
    )
    assert words == shlex.split("--epochs 3 --no-augment --shuffle --lr 0.001 --without a --without b")


def test_charts_are_drawn_with_holes(tmp_path):
    values = {("a", "x"): 10.0, ("b", "y"): 20.0}
    bars = draw_bars(
        [Bars("ours", values, {("a", "x"): 1.0})], ["a", "b"], ["x", "y", "z"], tmp_path / "b.png", title="t"
    )
    curves = [Curve("a", [(40.0, 1.0, 0.1), (100.0, 3.0, 0.0)], (2.0, 0.1), 70.0), Curve("b", [], None, None)]
    curve = draw_prior_curves(curves, tmp_path / "c.png", title="t")
    assert [path.read_bytes()[:4] for path in (bars, curve)] == [b"\x89PNG"] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.png", "c.png"]
