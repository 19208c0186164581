"""A thread that works ahead changes neither order nor errors, and ends when nobody wants more."""

from __future__ import annotations

import signal
import threading

import pytest

from avsctl.ahead import work_ahead


def threads() -> int:
    return sum(thread.name == "work-ahead" for thread in threading.enumerate())


@pytest.mark.parametrize("depth", [0, 1, 3, 100])
def test_items_come_in_order(depth):
    assert list(work_ahead(iter(range(20)), depth)) == list(range(20))
    assert threads() == 0


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_an_error_comes_where_its_item_would_have_come(depth):
    def items():
        yield from (1, 2)
        raise ValueError("no third")

    seen = []
    with pytest.raises(ValueError, match="no third"):
        for item in work_ahead(items(), depth):
            seen.append(item)
    assert seen == [1, 2]
    assert threads() == 0


def test_the_thread_is_ahead_by_so_many_items_and_no_more():
    drawn, third = [], threading.Event()

    def items():
        for number in range(10):
            drawn.append(number)
            if number == 2:
                third.set()
            yield number

    ahead = work_ahead(items(), 2)
    assert next(ahead) == 0
    assert third.wait(5)
    assert drawn == [0, 1, 2]
    ahead.close()


def test_stopping_early_ends_the_thread_and_closes_what_it_drew_from():
    closed_in = []

    def items():
        try:
            yield from range(10)
        finally:
            closed_in.append(threading.current_thread().name)

    ahead = work_ahead(items(), 2)
    next(ahead)
    ahead.close()
    assert closed_in == ["work-ahead"]
    assert threads() == 0


def test_signals_are_left_to_the_main_thread():
    def items():
        yield signal.pthread_sigmask(signal.SIG_BLOCK, [])

    [blocked] = work_ahead(items(), 1)
    assert {signal.SIGINT, signal.SIGTERM} <= blocked
    assert not {signal.SIGINT, signal.SIGTERM} & signal.pthread_sigmask(signal.SIG_BLOCK, [])
