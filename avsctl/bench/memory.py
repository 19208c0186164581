"""Peak memory of one side: measured in a process of its own, which does nothing else."""

from __future__ import annotations

import gc
import multiprocessing
import re
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from avsctl.errors import AvsctlError

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Measured(NamedTuple):
    """What a process needed: seconds of the call, its peak resident memory, and what the call gave."""

    seconds: float
    peak_bytes: int
    value: Any


def in_own_process(prepare: Callable[..., Callable[[], Any]], *args: Any, threads: int = 0) -> Measured:
    """Call `prepare(*args)()` in a new process; what `prepare` does is neither timed nor in the peak.

    The peak is that of the whole process (Python and libraries too), by Linux's VmHWM, set back after `prepare`;
    elsewhere by getrusage, which cannot be set back.

    Args:
        prepare: a function of a module; with its arguments, it must pickle. What its call gives must pickle, too.
        threads: torch's in the process, 0 for a process that does not use torch.
    Raises: AvsctlError: If the process dies.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, prepare, args, threads))
    process.start()
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:
        process.join()
        raise AvsctlError(
            f"A process that measures memory died (exit code {process.exitcode}), perhaps for lack of it. "
            f"Close other programs, or use --quick."
        ) from None
    finally:
        receiver.close()
    process.join()
    if isinstance(found, Exception):
        raise found
    return found


def _measure(sender: Connection, prepare: Callable[..., Callable[[], Any]], args: tuple, threads: int) -> None:
    try:
        if threads:
            import torch

            torch.set_num_threads(threads)
        call = prepare(*args)
        gc.collect()
        _forget_peak()
        start = time.perf_counter()
        value = call()
        sender.send(Measured(time.perf_counter() - start, peak_bytes(), value))
    except Exception as error:
        sender.send(error)


def peak_bytes() -> int:
    """Largest resident memory of this process so far, or since it was set back."""
    if STATUS.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
        if found:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _forget_peak() -> None:
    try:
        CLEAR.write_text("5")
    except OSError:
        return  # no Linux, or not allowed: the peak then counts what came before, on both sides
