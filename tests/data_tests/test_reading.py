"""Batches come in order from any number of workers, and a worker that dies is reported with its clip."""

from __future__ import annotations

import os
import signal

import pytest

from avsctl.data.reading import read_batches
from avsctl.errors import AvsctlError


class Numbers:
    """Items 0, 1, …; some kill the process that reads them, or can't be read."""

    def __init__(self, kills: int | None = None, refuses: int | None = None):
        self.kills, self.refuses = kills, refuses

    def name(self, item: int) -> str:
        return f"clip c{item}"

    def __getitem__(self, item: int) -> int:
        if item == self.kills:
            os.kill(os.getpid(), signal.SIGKILL)
        if item == self.refuses:
            raise AvsctlError("clip c3 has no sound. Give it one.")
        return item


BATCHES = [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order(workers):
    assert list(read_batches(Numbers(), BATCHES, sum, workers)) == [1, 5, 4]


def test_a_worker_that_dies_is_reported_with_its_clip():
    with pytest.raises(AvsctlError, match=r"died.* with clip c3 in hand.*--workers"):
        list(read_batches(Numbers(kills=3), BATCHES, sum, 1))


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_wrong_with_a_clip_is_one_line_from_anywhere(workers):
    with pytest.raises(AvsctlError) as error:
        list(read_batches(Numbers(refuses=3), BATCHES, sum, workers))
    assert str(error.value) == "clip c3 has no sound. Give it one."


class SignalsItself(Numbers):
    def __getitem__(self, item: int) -> int:
        for signum in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), signum)
        return item


def test_workers_leave_signals_to_their_parent():
    assert list(read_batches(SignalsItself(), BATCHES, sum, 1)) == [1, 5, 4]
