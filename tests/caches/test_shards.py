from __future__ import annotations

import numpy as np

from avsctl.caches.shards import Shards


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


def test_removing_leaves_nothing(tmp_path):
    shards = Shards(tmp_path / "a.h5", {}, 2)
    _write(shards, 0)
    shards.remove()
    assert list(tmp_path.iterdir()) == []
