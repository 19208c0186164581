"""Who does what in several processes of a command; what they do together is in tests/cli/test_torchrun.py."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import pytest

from avsctl import distributed
from avsctl.distributed import exit_with, gather, held_by_main, on_main, own_part, own_turns, pooled, program, together


@pytest.mark.parametrize("shares", [own_part, own_turns])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_no_item_comes_twice_or_is_lost(shares, size, monkeypatch):
    monkeypatch.setattr(distributed._Group, "size", size)
    for count in range(8):
        found = []
        for rank in range(size):
            monkeypatch.setattr(distributed._Group, "rank", rank)
            found.append(shares(range(count)))
        assert sorted(item for own in found for item in own) == list(range(count))
        assert max(map(len, found)) - min(map(len, found)) <= 1
        if shares is own_part:
            assert [item for own in found for item in own] == list(range(count))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_fewer_items_than_processes_are_shared_by_all(size, monkeypatch):
    monkeypatch.setattr(distributed._Group, "size", size)
    for count in range(1, size):
        places = []
        for rank in range(size):
            monkeypatch.setattr(distributed._Group, "rank", rank)
            places.append(distributed.own_place(count))
        assert sorted({item for item, _, _ in places}) == list(range(count))
        for item in range(count):
            mates = [place for place in places if place[0] == item]
            assert mates == [(item, number, len(mates)) for number in range(len(mates))]


def test_alone_there_is_nobody_to_wait_for():
    entered = []

    @contextmanager
    def lock():
        entered.append("in")
        yield
        entered.append("out")

    with held_by_main(lock()):
        assert entered == ["in"]
    assert entered == ["in", "out"]
    assert (together(lambda: 1), gather(lambda: 2), on_main(lambda: 3), list(pooled([4, 5]))) == (1, [2], 3, [4, 5])
    assert program() == "avsctl"
    with pytest.raises(SystemExit) as stop:
        exit_with(3)
    assert stop.value.code == 3


def test_nothing_distributed_is_imported_without_torchrun():
    code = (
        "import sys, avsctl.distributed as d\n"
        "with d.joined(): d.together(dict)\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'torch']"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("launched", [{}, {"WORLD_SIZE": "1"}])
def test_a_single_process_of_torchrun_is_alone(monkeypatch, launched):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x", **launched}.items():
        monkeypatch.setenv(name, value)
    if not launched:
        monkeypatch.delenv("TORCHELASTIC_RUN_ID")  # some cluster's own variables
    assert not distributed.launched() and distributed.speaks()
