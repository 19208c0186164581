"""The clockwork of the benchmark: turns, processes of their own, items by name."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from avsctl.bench.harness import Result, UnequalWork, in_turn, require_equal
from avsctl.bench.items import ITEMS, chosen_items
from avsctl.bench.memory import in_own_process
from avsctl.errors import AvsctlError


def _fill(megabytes):
    return functools.partial(_touch, megabytes)


def _touch(megabytes):
    return float(np.ones(megabytes << 17).sum())


def _fill_first(megabytes):
    _touch(megabytes)
    return functools.partial(_touch, 1)


def _die():
    import os

    os._exit(3)


def _fail():
    raise UnequalWork("nothing fits")


def test_sides_take_turns_and_who_begins_changes():
    calls = []
    in_turn(functools.partial(calls.append, "ours"), functools.partial(calls.append, "peer"), 3)
    assert calls == ["ours", "peer", "peer", "ours", "ours", "peer"]


def test_the_peak_is_that_of_the_call_and_not_of_what_came_before():
    small, large, before = (in_own_process(*what) for what in ((_fill, 1), (_fill, 200), (_fill_first, 200)))
    assert 190 << 20 < large.peak_bytes - small.peak_bytes < 220 << 20
    assert abs(before.peak_bytes - small.peak_bytes) < 30 << 20
    assert large.value == 200 << 17 and large.seconds > 0


def test_what_goes_wrong_in_the_process_is_said_here():
    with pytest.raises(UnequalWork, match="nothing fits"):
        in_own_process(_fail)
    with pytest.raises(AvsctlError, match="exit code 3"):
        in_own_process(_die)


def test_a_result_says_whether_its_target_is_reached():
    result = Result("x", 2.0, 3.0, 1.5, "frames", 10, "the plain way", "all")
    content = result.to_json()
    assert (content["ratio"], content["reached"], content["ours_per_s"]) == (1.5, True, 5.0)
    assert Result("x", 2.0, 2.9, 1.5, "frames", 10, "the plain way", "all").reached is False


def test_different_work_is_refused():
    require_equal(True, "frames")
    with pytest.raises(UnequalWork, match="differ in frames"):
        require_equal(False, "frames")


def test_a_name_means_its_item_or_all_that_begin_so():
    assert [item.name for item in chosen_items(["training-step"])] == ["training-step-paper", "training-step-tiny"]
    assert [item.name for item in chosen_items(["inference-tiny"])] == ["inference-tiny"]
    assert chosen_items([]) == list(ITEMS)
    with pytest.raises(ValueError, match="no item train; there are: training-step-paper"):
        chosen_items(["train"])
