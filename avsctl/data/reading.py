"""Reads batches ahead, in a thread or in worker processes, and says what a worker that died was reading."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from avsctl.ahead import PREFETCH, work_ahead
from avsctl.errors import AvsctlError
from avsctl.stopping import signals_left_to_parent

B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)


class Samples(Protocol[B_co]):
    """Items by number; an item's name is what messages call it."""

    def __getitem__(self, item: int) -> B_co: ...

    def name(self, item: int) -> str:
        """What messages call an item."""


def read_batches(
    samples: Samples[B],
    batches: Sequence[Sequence[int]],
    join: Callable[[Sequence[B]], B],
    workers: int,
    *,
    prefetch: int = PREFETCH,
    pin: bool = False,
) -> Iterator[B]:
    """Yield batches in the given order, whose content depends on none of the following.

    Args:
        workers: processes that read; 0 reads in a thread of this one.
        prefetch: batches that are read ahead, by each worker or by the thread; 0, without workers, reads every batch
            when it is asked for.
        pin: put batches, which have a method `pin_memory`, where a GPU can take them while it computes.
    Raises: AvsctlError: As reading an item does; if a worker dies, with the item that it held.
    """
    if not workers:
        read = (join([samples[item] for item in batch]) for batch in batches)
        yield from work_ahead(map(_pinned, read) if pin else read, prefetch)
        return
    held = torch.full((workers, 2), -1, dtype=torch.int64).share_memory_()
    reading = DataLoader(
        _Watched(samples, held),
        batch_sampler=[list(batch) for batch in batches],
        collate_fn=_Joined(join),
        num_workers=workers,
        prefetch_factor=max(1, prefetch),
        pin_memory=pin,
    )
    with signals_left_to_parent():
        found = iter(reading)
    while True:
        try:
            batch = next(found, None)
        except RuntimeError as error:
            raise _death(error, samples, held) from None
        if batch is None:
            return
        if isinstance(batch, AvsctlError):
            raise batch
        yield batch


def _pinned(batch: Any) -> Any:
    return batch.pin_memory()


class _Watched(Dataset):
    """The samples in a worker, which writes down what it is about to read: rows of `held` are (pid, item)."""

    def __init__(self, samples: Samples[Any], held: torch.Tensor):
        self.samples = samples
        self.held = held

    def __getitem__(self, item: int) -> Any:
        worker = get_worker_info()
        if worker is not None:
            self.held[worker.id] = torch.tensor([os.getpid(), item])
        try:
            return self.samples[item]
        except AvsctlError as error:
            return error  # raised here, it would reach the user with a traceback in its text


class _Joined:
    """Joins items; gives the first error among them instead."""

    def __init__(self, join: Callable[[Sequence[Any]], Any]):
        self.join = join

    def __call__(self, items: Sequence[Any]) -> Any:
        return next((item for item in items if isinstance(item, AvsctlError)), None) or self.join(items)


def _death(error: RuntimeError, samples: Samples[Any], held: torch.Tensor) -> Exception:
    """What to raise for an error of the loader: if it is a worker's death, with the item of that worker."""
    found = re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)", str(error))
    if not found:
        return error
    dead = {int(pid) for pid in found[1].split(",")}
    items = [samples.name(item) for pid, item in held.tolist() if pid in dead]
    return AvsctlError(
        f"A process that reads clips died, perhaps for lack of memory, with {', '.join(items) or 'no clip yet'} in "
        f"hand. Look at that clip, or run again with fewer --workers."
    )
