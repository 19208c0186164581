"""Several processes of one command, as torchrun starts them: who is who, and where they meet.

Between two meetings a process works by itself. At a meeting each says how its work went, and all go on in the same
way: an error or a signal of one ends all of them. Rank 0, the main process, holds the locks, writes the files of which
there is one, and speaks. Without torchrun all of this does nothing, and PyTorch's part of it is not imported.
"""

from __future__ import annotations

import copy
import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from avsctl.errors import AvsctlError
from avsctl.stopping import agree_to_stop, one_of_several, received_signal, stopping_alone

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)
T = TypeVar("T")

LONGEST_WAIT = timedelta(days=7)
"""For a process that is busy; one that has ended is noticed at once."""


class _Group:
    """The group that this process has joined."""

    rank = 0
    size = 1
    joined = False
    working = False
    """Whether this process is in the work of a meeting, where it is by itself."""


@dataclass
class _Report:
    """What a process says at a meeting."""

    value: Any = None
    error: BaseException | None = None
    signum: int | None = None


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1


def speaks() -> bool:
    """Whether this process's words are for the user: all would say the same."""
    return not launched() or int(os.environ["RANK"]) == 0


def has_joined() -> bool:
    """Whether this process was ever a member of a group."""
    return _Group.joined


def program() -> str:
    """How this command was started, for messages with a command to type."""
    if not launched():
        return "avsctl"
    processes = os.environ["LOCAL_WORLD_SIZE"]
    nodes = "" if processes == os.environ["WORLD_SIZE"] else "--nnodes … "
    return f"torchrun {nodes}--nproc-per-node {processes} -m -- avsctl"


def rank() -> int:
    """This process's number in its group, 0 in the main one."""
    return _Group.rank


def world_size() -> int:
    """Number of processes in the group, 1 without one."""
    return _Group.size


def local_rank() -> int:
    """This process's number on its machine, by which it takes a GPU."""
    return int(os.environ["LOCAL_RANK"]) if launched() else 0


def is_main() -> bool:
    """Whether this process writes and speaks."""
    return _Group.rank == 0


@contextmanager
def joined() -> Iterator[None]:
    """Be a member of torchrun's group inside the block; without torchrun, be alone.

    Raises: AvsctlError: If the processes can't reach each other, or one of them ended; else what any of them raised.
    """
    if not launched():
        yield
        return
    _join()
    try:
        with one_of_several():
            try:
                yield
            except BaseException as error:
                if not getattr(error, "met", False):
                    _meet(_Report(error=error))
                raise
            _meet(_Report())
    except BaseException:
        _let_main_end_first()
        raise
    finally:
        _Group.rank, _Group.size = 0, 1
    _leave()


def together(work: Callable[[], T]) -> T:
    """Do this process's work and wait for the others'; gives its own result.

    Raises: What the work of any process raised, in all of them.
    """
    if _alone():
        return work()
    report = _do(work)
    own, report.value = report.value, None
    _meet(report)
    return own


def gather(work: Callable[[], T]) -> list[T]:
    """Do this process's work; gives the results of all, by rank. Raises as `together`."""
    return [work()] if _alone() else _meet(_do(work))


def on_main(work: Callable[[], T]) -> T:
    """Do work in the main process alone; gives its result to all, who wait for it. Raises as `together`."""
    if _alone():
        return work()
    return _meet(_do(work) if is_main() else _Report(signum=received_signal()))[0]


def pooled(parts: Iterable[T]) -> Iterator[T]:
    """What all processes have, each one part in a turn, so that no process holds more than a few at once."""
    if _alone():
        yield from parts
        return
    own = iter(parts)
    while turn := [part for part in gather(lambda: next(own, None)) if part is not None]:
        yield from turn


@contextmanager
def held_by_main(context: AbstractContextManager[Any]) -> Iterator[None]:
    """Enter a context, such as a lock, in the main process alone; all go on when it is entered."""
    with ExitStack() as stack:
        on_main(lambda: _enter(stack, context))
        yield


def own_part(items: Sequence[T]) -> list[T]:
    """This process's items, which lie together: those of all are as many as can be alike."""
    return list(items[len(items) * _Group.rank // _Group.size : len(items) * (_Group.rank + 1) // _Group.size])


def own_place(count: int) -> tuple[int, int, int]:
    """For fewer items than processes: the item that this process works on, its place among those that do, and their
    number."""
    item = _Group.rank * count // _Group.size
    mates = [number for number in range(_Group.size) if number * count // _Group.size == item]
    return item, mates.index(_Group.rank), len(mates)


def own_turns(items: Sequence[T]) -> list[T]:
    """This process's items where each takes one in turn: long ones, which often lie together, are spread."""
    return list(items[_Group.rank :: _Group.size])


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their sums over all processes, which are the same to the last bit in each."""
    if _alone() or not tensors:
        return
    import torch
    import torch.distributed as dist

    flat = torch.cat([tensor.detach().flatten().float() for tensor in tensors])
    flat = flat if flat.device.type in ("cpu", "cuda") else flat.cpu()  # where the group can't add, the CPU can
    try:
        dist.all_reduce(flat)
    except RuntimeError as error:
        raise _deserted(error) from None
    with torch.no_grad():
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))


def _alone() -> bool:
    return _Group.size == 1 or _Group.working


def _enter(stack: ExitStack, context: AbstractContextManager[Any]) -> None:
    stack.enter_context(context)


def _join() -> None:
    import torch
    import torch.distributed as dist

    both = torch.cuda.is_available() and dist.is_nccl_available()
    try:
        # Reports always go through the CPU, so that a meeting never waits for a GPU's queue.
        dist.init_process_group("cpu:gloo,cuda:nccl" if both else "gloo", timeout=LONGEST_WAIT)
    except (RuntimeError, ValueError) as error:
        raise AvsctlError(f"The processes can't reach each other ({error}). Check torchrun's --rdzv options.") from None
    _Group.rank, _Group.size, _Group.joined = dist.get_rank(), dist.get_world_size(), True


def _leave() -> None:
    import torch.distributed as dist

    dist.destroy_process_group()


def _do(work: Callable[[], Any]) -> _Report:
    report = _Report()
    _Group.working = True
    try:
        with stopping_alone():
            report.value = work()
    except BaseException as error:
        report.error = error
    finally:
        _Group.working = False
    report.signum = received_signal()
    return report


def _meet(own: _Report) -> list[Any]:
    """Exchange reports; gives the values.

    An error goes into whichever meeting the others have next, so a process may fail anywhere.
    """
    import torch.distributed as dist

    reports: list[_Report] = [_Report()] * _Group.size
    sent = _Report(own.value, None if own.error is None else _portable(own.error), own.signum)
    try:
        dist.all_gather_object(reports, sent)
    except RuntimeError as error:
        raise _deserted(error) from None
    for number, report in enumerate(reports):
        if report.error is not None:
            raise _known(own.error if number == _Group.rank and own.error else report.error)
    signum = next((report.signum for report in reports if report.signum is not None), None)
    if signum is not None:
        agree_to_stop(signum)
    return [report.value for report in reports]


def _known(error: BaseException) -> BaseException:
    """Mark an error as one that there is nobody left to tell of."""
    error.met = True  # type: ignore[attr-defined]
    return error


def _portable(error: BaseException) -> BaseException:
    """An error that another process can read."""
    try:
        pickle.dumps(error)
        copy.copy(error)  # made again from its arguments, as the other process does
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _deserted(error: RuntimeError) -> BaseException:
    log.debug("%s", error)
    return _known(
        AvsctlError(
            "Another process of this command has ended, perhaps for lack of memory; torchrun's report names it. What "
            "is finished is kept: run the same command again."
        )
    )


def exit_with(code: int) -> NoReturn:
    """End this process, at once where it is one of several.

    PyTorch takes half a minute to take apart a connection whose other end waits, as after an error it does.
    """
    if launched():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _let_main_end_first() -> None:
    """Wait until the main process has ended: torchrun ends all others as soon as one has, in the middle of a word."""
    if is_main():
        return
    import torch
    import torch.distributed as dist

    with suppress(RuntimeError):
        dist.recv(torch.zeros(1), src=0)  # never sent; it fails when the connection does
