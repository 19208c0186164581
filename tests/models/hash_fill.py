"""Numbers made from a name: the weights and inputs of golden outputs whose models are too large to keep."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

SEED = 11


def uniform(name: str, count: int) -> np.ndarray:
    """So many float64 numbers in [0, 1)."""
    numbers = np.arange(count, dtype=np.uint32)
    numbers += np.uint32((zlib.crc32(name.encode()) + SEED * 0x9E3779B9) & 0xFFFFFFFF)
    numbers ^= numbers >> np.uint32(16)
    numbers *= np.uint32(0x85EBCA6B)
    numbers ^= numbers >> np.uint32(13)
    numbers *= np.uint32(0xC2B2AE35)
    numbers ^= numbers >> np.uint32(16)
    result = numbers.astype(np.float64)
    result /= 4294967296.0
    return result


def normal(name: str, *shape: int) -> Tensor:
    """Float32 numbers of mean 0 and spread 1: the sum of four uniform ones."""
    total = sum(uniform(f"{name}/{part}", int(np.prod(shape))) for part in range(4))
    return torch.from_numpy(((total - 2) * np.sqrt(3)).astype(np.float32).reshape(shape))


def released_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """The float32 tensor of a released model's state dict."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.long)
    numbers = uniform(name, int(np.prod(shape)))
    if name.endswith("running_var"):
        numbers += 0.5
    elif len(shape) == 1 and name.endswith("weight"):
        numbers = 0.8 + 0.4 * numbers
    else:
        numbers -= 0.5
        numbers *= _spread(name, shape)
    return torch.from_numpy(numbers.astype(np.float32).reshape(shape))


def _spread(name: str, shape: tuple[int, ...]) -> float:
    if name.endswith("sampling_offsets.bias"):
        return 8.0
    if name.endswith(("level_embed", "query.weight")):
        return 2.0
    return 0.2 if len(shape) == 1 else 2.0 * np.sqrt(3.0 / np.prod(shape[1:]))
