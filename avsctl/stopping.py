"""Stopping on SIGINT or SIGTERM without losing the item in hand.

The command line turns both signals into a request to stop. Inside `finishing_items` the request waits: whoever works
through items asks between two of them (`stop_here`, or `stop_requested` to save something first). Elsewhere, where
nothing is in hand, `Stopped` is raised at once, and so it is by a second signal anywhere.

The command line's `track` does all this for the items that go through it. A library user who installs no handlers
is never asked to stop.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """The user, or the system, asked the command to stop.

    Not an `Exception`, like `KeyboardInterrupt`: code that forgives errors must not swallow it.

    Args:
        signum: the signal; a command that it ended exits with 128 + signum.
    """

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum


class _Request:
    """The one request of this process: signals belong to a process, not to an object."""

    signum: int | None = None
    items_in_hand = 0
    agreed: int | None = None
    of_several = waits = False
    """Whether this process is one of several, and whether it stops only when all have agreed to."""


def stop_requested() -> int | None:
    """The signal that asked to stop, None if none did."""
    return _Request.agreed if _Request.waits else _Request.signum


def received_signal() -> int | None:
    """The signal that came to this process, whether or not it stops for it."""
    return _Request.signum


def stop_here() -> None:
    """Stop now if that was asked for; call it where nothing is in hand.

    Raises: Stopped: If a signal came.
    """
    signum = stop_requested()
    if signum is not None:
        raise Stopped(signum)


def agree_to_stop(signum: int) -> None:
    """Let this process stop for a signal that came to any of several; all call this at the same place.

    Raises: Stopped: If nothing is in hand.
    """
    _Request.agreed = signum
    if not _Request.items_in_hand:
        raise Stopped(signum)


@contextmanager
def one_of_several() -> Iterator[None]:
    """Stop only where all processes of the command agree to, and don't mind a second signal: torchrun ends who lingers.

    Without that, those that a signal reaches later would wait for those that it reached before.
    """
    _Request.of_several = _Request.waits = True
    try:
        yield
    finally:
        _Request.of_several = _Request.waits = False


@contextmanager
def stopping_alone() -> Iterator[None]:
    """Inside the block, work that no other process waits for, stop as a single process does."""
    before, _Request.waits = _Request.waits, False
    try:
        yield
    finally:
        _Request.waits = before


@contextmanager
def finishing_items() -> Iterator[None]:
    """Let a signal wait inside the block until `stop_here` is called; blocks may lie in each other."""
    _Request.items_in_hand += 1
    try:
        yield
    finally:
        _Request.items_in_hand -= 1


@contextmanager
def stopping_on_signals(announce: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Take SIGINT and SIGTERM as requests to stop inside the block; call it in the main thread.

    A signal that the parent process has switched off, as `nohup` and background jobs do, stays off.

    Args:
        announce: called when a request has to wait for the item in hand.
    """

    def ask(signum: int, frame: FrameType | None) -> None:
        again = _Request.signum is not None
        _Request.signum = signum
        at_once = not _Request.items_in_hand or (again and not _Request.of_several)
        if at_once and not _Request.waits:
            raise Stopped(signum)
        if not again:
            announce()

    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    _Request.signum, _Request.agreed, _Request.items_in_hand = None, None, 0
    try:
        for signum, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(signum, ask)
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        _Request.signum, _Request.agreed, _Request.items_in_hand = None, None, 0


@contextmanager
def signals_left_to_parent() -> Iterator[None]:
    """Start worker processes inside: they inherit that both signals are blocked, from their first moment on.

    A signal sent to a whole group, as Ctrl-C is, is the parent's to decide on; it comes to it after the block.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
