"""Which device computes, in which number format, and where its randomness comes from."""

from __future__ import annotations

import os
from typing import Any

import torch

from avsctl.ahead import PREFETCH
from avsctl.caches.files import hash_of
from avsctl.distributed import launched, local_rank
from avsctl.errors import AvsctlError


def choose_device(name: str) -> torch.device:
    """The named device; `auto` takes CUDA, then Apple's MPS, then the CPU.

    Of several processes that torchrun started, each takes the GPU of its number.

    Raises: AvsctlError: If it is not here.
    """
    if launched() and name.startswith("cuda:"):
        raise AvsctlError(f"--device {name} is one GPU for several processes. Use --device cuda: each takes its own.")
    if launched() and torch.cuda.is_available() and name in ("auto", "cuda"):
        return _own_gpu()
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise AvsctlError(f"--device {name} can't be used here ({reason}). Use --device cpu, or auto.") from None
    return device


def _own_gpu() -> torch.device:
    number, count = local_rank(), torch.cuda.device_count()
    if number >= count:
        raise AvsctlError(f"There are {count} GPUs here and more processes. Use torchrun --nproc-per-node {count}.")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def reading_by_device(device: str, workers: int | None = None, prefetch: int | None = None) -> dict[str, Any]:
    """`workers` and `prefetch` of whatever reads clips, as given, else what suits the device."""
    on_cpu, cores = choose_device(device).type == "cpu", os.cpu_count() or 1
    workers = workers if workers is not None else 0 if on_cpu else min(4, cores)
    # Beside a network that computes on all cores, other threads only keep its own from each other.
    alone = on_cpu and not workers and torch.get_num_threads() >= cores
    return {"workers": workers, "prefetch": prefetch if prefetch is not None else 0 if alone else PREFETCH}


def predicting_by_device(
    device: str, workers: int | None = None, batch_clips: int | None = None, prefetch: int | None = None
) -> dict[str, Any]:
    """Those and the `batch_clips` that a network sees together, as given, else what suits the device."""
    on_cpu = choose_device(device).type == "cpu"
    return {"batch_clips": batch_clips or (1 if on_cpu else 4), **reading_by_device(device, workers, prefetch)}


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from what it is for, so that a resumed run draws what an uninterrupted one does."""
    return int(hash_of(*(str(part) for part in parts)), 16) >> 1
