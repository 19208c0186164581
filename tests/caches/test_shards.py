from __future__ import annotations

import numpy as np
import pytest

from avsctl.caches.shards import Shards, making, remove_leftovers
from avsctl.errors import AvsctlError


def _write(shards: Shards, number: int) -> None:
    shards.write(number, [{"value": np.full(3, i)} for i in shards.range(number)])


def test_items_come_back_in_order_whoever_wrote_first(tmp_path):
    shards = Shards(tmp_path / "a.h5", {"x": 1}, items=7, per_shard=3)
    for number in (2, 0, 1):
        _write(shards, number)
    assert [int(item["value"][0]) for item in shards.read()] == list(range(7))


def test_a_rerun_finds_what_is_done(tmp_path):
    _write(Shards(tmp_path / "a.h5", {"x": 1}, 7, 3), 1)
    assert Shards(tmp_path / "a.h5", {"x": 1}, 7, 3).missing() == [0, 2]


def test_shards_of_another_plan_are_not_mixed_in(tmp_path):
    _write(Shards(tmp_path / "a.h5", {"x": 1}, 7, 3), 1)
    assert Shards(tmp_path / "a.h5", {"x": 2}, 7, 3).missing() == [0, 1, 2]


def test_making_a_cache_leaves_nothing_but_the_cache(tmp_path):
    with making(tmp_path / "a.h5", {}, 2, item_bytes=1) as shards:
        _write(shards, 0)
        (tmp_path / "a.h5").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_failure_keeps_the_shards_and_a_finished_cache_needs_none(tmp_path):
    with pytest.raises(KeyboardInterrupt), making(tmp_path / "a.h5", {}, 7, 3, item_bytes=1) as shards:
        _write(shards, 1)
        raise KeyboardInterrupt
    assert shards.missing() == [0, 2]
    remove_leftovers(tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-30], lambda data: data[:90] + b"\xff" + data[91:], lambda data: b""]
)
def test_a_damaged_shard_is_removed_and_named(tmp_path, damage):
    shards = Shards(tmp_path / "a.h5", {}, 7, 3)
    for number in range(3):
        _write(shards, number)
    shards.path(1).write_bytes(damage(shards.path(1).read_bytes()))
    with pytest.raises(AvsctlError, match="000001.npz, a part of a.h5, was damaged .* same command again"):
        [dict(item) for item in shards.read()]
    assert shards.missing() == [1]


def test_a_cache_that_cannot_fit_is_refused_before_any_work(tmp_path):
    with (
        pytest.raises(AvsctlError, match=r"a.h5 needs about 2000.0 TB in .*, but .* are free there"),
        making(tmp_path / "a.h5", {}, 1000, item_bytes=1e12),
    ):
        pytest.fail("work was begun")
