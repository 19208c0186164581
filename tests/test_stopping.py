"""A signal stops after the item in hand, at once where there is none, and at once when it comes twice."""

from __future__ import annotations

import os
import signal
import sys
import time

import click
import pytest

from avsctl.cli._console import run_guarded, track
from avsctl.data.workers import spread
from avsctl.stopping import (
    Stopped,
    agree_to_stop,
    finishing_items,
    one_of_several,
    received_signal,
    stop_here,
    stop_requested,
    stopping_alone,
    stopping_on_signals,
)

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture(params=CODES, ids=lambda signum: signum.name)
def signum(request):
    # A shell starts background jobs with SIGINT switched off, which would stay off.
    before = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


def _send(signum: int) -> None:
    os.kill(os.getpid(), signum)


def test_outside_of_items_it_stops_at_once(signum):
    with pytest.raises(Stopped) as stop, stopping_on_signals():
        _send(signum)
        time.sleep(5)
    assert stop.value.signum == signum
    assert stop_requested() is None


def test_the_item_in_hand_is_finished(signum):
    done, announced = [], []
    with pytest.raises(Stopped), stopping_on_signals(announce=lambda: announced.append(1)):
        for item in track(range(4)):
            if item == 1:
                _send(signum)
            done.append(item)
    assert (done, announced) == ([0, 1], [1])


def test_the_second_signal_does_not_wait(signum):
    with pytest.raises(Stopped), stopping_on_signals(), finishing_items():
        _send(signum)
        assert stop_requested() == signum
        _send(signum)
        pytest.fail("the second signal was ignored")


def test_handlers_are_put_back_and_what_was_off_stays_off():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping_on_signals():
            _send(signal.SIGINT)
            stop_here()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_who_installs_no_handlers_is_never_asked():
    stop_here()
    assert list(track(range(3))) == [0, 1, 2]


@pytest.mark.parametrize("words", [["evaluate", "--split", "a b"], ["train-avs", "--overwrite"]])
def test_the_command_exits_with_the_signal_and_says_how_to_continue(signum, words, monkeypatch, capfd):
    @click.command()
    def command() -> None:
        for _ in track(range(3)):
            _send(signum)

    command.main = lambda **given: command.callback()
    monkeypatch.setattr(sys, "argv", ["avsctl", *words])
    assert run_guarded(command) == CODES[signum]
    again = {"evaluate": "avsctl evaluate --split 'a b'", "train-avs": "avsctl train-avs"}[words[0]]
    assert capfd.readouterr().err.splitlines()[-1] == f"stopped; what is finished is kept. Continue with: {again}"


def test_a_request_that_comes_too_late_still_ends_a_list_of_commands(signum, monkeypatch, capfd):
    @click.command()
    def command() -> None:
        with finishing_items():
            _send(signum)

    monkeypatch.setattr(sys, "argv", ["avsctl", "evaluate"])
    command.main = lambda **given: command.callback()
    assert run_guarded(command) == CODES[signum]
    assert "done already" in capfd.readouterr().err


def _send_to_self(number: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    return number


def test_workers_leave_signals_to_their_parent():
    assert sorted(spread(_send_to_self, range(4), workers=2)) == [0, 1, 2, 3]


def test_one_of_several_processes_stops_only_when_all_agree(signum):
    with pytest.raises(Stopped) as stop, stopping_on_signals(), one_of_several():
        _send(signum)
        stop_here()
        assert (received_signal(), stop_requested()) == (signum, None)
        with finishing_items():
            with stopping_alone():
                _send(signum)  # torchrun may send it twice
                assert stop_requested() == signum
            agree_to_stop(signum)
            assert stop_requested() == signum
            stop_here()
    assert stop.value.signum == signum


def test_where_nothing_is_in_hand_an_agreed_stop_is_at_once():
    with pytest.raises(Stopped), stopping_on_signals(), one_of_several():
        agree_to_stop(signal.SIGTERM)  # that came to another process


def test_work_that_no_other_process_waits_for_stops_by_itself(signum):
    with pytest.raises(Stopped), stopping_on_signals(), one_of_several(), stopping_alone():
        _send(signum)
        time.sleep(5)
