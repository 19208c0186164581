"""Works ahead in a thread: what comes next is made while the caller is busy with what it has."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from queue import Queue
from typing import TypeVar

from avsctl.stopping import signals_left_to_parent

PREFETCH = 2
"""Items that are made ahead where nothing else is asked for."""

T = TypeVar("T")
_END = object()


def work_ahead(items: Iterable[T], depth: int = PREFETCH) -> Generator[T, None, None]:
    """Yield items in their order, drawn in a thread of their own that is up to `depth` ahead.

    An error comes where its item would have come. When the caller stops early, the thread ends with the item that it
    has in hand, and with it the iterator of the items.

    Args:
        depth: finished items that wait at most; 0 draws them here, without a thread.
    """
    if not depth:
        yield from items
        return
    space, done = threading.Semaphore(depth), Queue[tuple[object, BaseException | None]]()
    abandoned = threading.Event()
    thread = threading.Thread(target=_draw, args=(items, space, done, abandoned), name="work-ahead", daemon=True)
    with signals_left_to_parent():  # a thread inherits it: signals wake the main thread, which decides on them
        thread.start()
    try:
        while True:
            item, error = done.get()
            if error is not None:
                raise error
            if item is _END:
                return
            space.release()
            yield item  # type: ignore[misc] # what was drawn of `items`
    finally:
        abandoned.set()
        space.release()
        thread.join()


def _draw(items: Iterable[T], space: threading.Semaphore, done: Queue, abandoned: threading.Event) -> None:
    iterator = iter(items)
    try:
        while True:
            space.acquire()
            if abandoned.is_set():
                break
            item = next(iterator, _END)
            done.put((item, None))
            if item is _END:
                break
    except BaseException as error:  # an interruption too is the caller's to know
        done.put((_END, error))
    finally:
        close = getattr(iterator, "close", None)  # its own `finally` belongs into the thread that ran it
        if close is not None:
            close()
