"""A job spread over processes, with a bounded number of results in flight."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from avsctl.errors import AvsctlError
from avsctl.memory import keep_freed_memory
from avsctl.stopping import signals_left_to_parent

T = TypeVar("T")
_job: Callable[[int], Any]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(job: Callable[[int], T], numbers: Sequence[int], workers: int | None = None) -> Iterator[T]:
    """Yield `job(number)` for each number, in the order in which they get done.

    The job is sent to each process once. When the caller stops, jobs that run are finished, others are dropped.

    Args:
        job: picklable; does its work for one number.
        workers: processes, None for one per core; with 0 or 1 all is done in this process.
    Raises: AvsctlError: If a process was killed.
    """
    count = min(cores() if workers is None else workers, len(numbers))
    if count <= 1:
        keep_freed_memory()
        yield from map(job, numbers)
        return
    pool = ProcessPoolExecutor(
        count, mp_context=multiprocessing.get_context("spawn"), initializer=_start, initargs=(job,)
    )
    todo = iter(numbers)
    try:
        with signals_left_to_parent():  # submitting starts the processes
            running = {pool.submit(_run, number) for number in islice(todo, 2 * count)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
            running |= {pool.submit(_run, number) for number in islice(todo, len(done))}
    except BrokenProcessPool:
        raise AvsctlError(
            "A worker process was killed, perhaps for lack of memory. What is done is kept: run again with --workers 1."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start(job: Callable[[int], object]) -> None:
    global _job
    _job = job
    keep_freed_memory()
    start_worker()


def start_worker() -> None:
    """Make this process one that ends with its parent."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A killed parent cannot stop its workers, and they would wait for it for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _run(number: int) -> Any:
    return _job(number)
