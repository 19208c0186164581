"""What this machine is, and how fast it multiplies matrices: the yardstick for everything else."""

from __future__ import annotations

import os
import platform
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avsctl import __version__
from avsctl.data.workers import cores

SIDE = 1536
TRIAL_SIDE = 512
"""Of the matrices that tell whether bf16 is native: where it isn't, larger ones would take long."""
NATIVE = 1.2
"""How many times faster than float32 a processor that multiplies bf16 natively does it, at least."""


def matmul_rate(dtype: torch.dtype = torch.float32, *, side: int = SIDE, repeats: int = 5) -> float:
    """FLOP/s of square matrix products on the CPU with torch's threads: the best of several, as other programs slow."""
    left, right = torch.randn(2, side, side).to(dtype)
    left @ right
    fastest = min(_seconds(left, right) for _ in range(repeats))
    return 2 * side**3 / fastest


def multiplies_bf16() -> bool:
    """Whether this processor multiplies bf16 natively, by measuring it."""
    rates = [matmul_rate(dtype, side=TRIAL_SIDE) for dtype in (torch.float32, torch.bfloat16)]
    return rates[1] >= NATIVE * rates[0]


def _seconds(left: Tensor, right: Tensor) -> float:
    start = time.perf_counter()
    left @ right
    return time.perf_counter() - start


def machine_facts(threads: int) -> dict[str, Any]:
    """Processor, cores, memory, versions, and the measured rates of matrix products."""
    native = multiplies_bf16()
    return {
        "processor": _processor(),
        "cores": cores(),
        "threads": threads,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "avsctl": __version__,
        "torch": torch.__version__,
        "transformers": transformers_version(),
        "matmul_fp32_flops": matmul_rate(),
        "matmul_bf16_flops": matmul_rate(torch.bfloat16, side=SIDE if native else TRIAL_SIDE),
        "native_bf16": native,
    }


@lru_cache
def transformers_version() -> str | None:
    """The installed version of the peer's package, None without it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("transformers")
    except PackageNotFoundError:
        return None


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
