"""Deterministic mode: the same command on the same machine writes the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def deterministic(wanted: bool = True) -> Iterator[None]:
    """Let PyTorch take only operations that give the same bits each time, inside the block.

    A GPU has none for some gradients (those of `grid_sample`, in deformable attention and in the loss of AAVS): PyTorch
    then warns and goes on. cuBLAS reads its setting once, so enter the block before anything is computed.
    """
    if not wanted:
        yield
        return
    cudnn, cublas = torch.backends.cudnn, os.environ.get(_CUBLAS)
    mode, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    before = cudnn.deterministic, cudnn.benchmark
    os.environ.setdefault(_CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode, warn_only=warns)
        cudnn.deterministic, cudnn.benchmark = before
        if cublas is None:
            del os.environ[_CUBLAS]
