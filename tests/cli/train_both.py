"""Train AVSegFormer, and AAVS in float64, in the workspace that is the current folder: started by torchrun in a test.

The gradient of AAVS jumps where rounding turns a unit of a ReLU, a match, a chosen point or a pixel of an attention
mask, which float32's rounding does once in a few trainings, and float64's a billion times less often.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

import torch

from avsctl.configs import resolve_training
from avsctl.data.samples import ClipSamples
from avsctl.distributed import joined
from avsctl.stages.train import train
from avsctl.workspace import Workspace

# Six clips in steps of 4 and 2: in the second step, two of three processes share a clip's three frames.
GIVEN = {"image_size": 64, "freeze_backbone": True, "epochs": 2, "batch_clips": 4, "frames_per_clip": 3}


@contextmanager
def in_float64() -> Iterator[None]:
    """Compute all that is float32 in float64, the loss and the sums over processes included."""
    read = ClipSamples.__getitem__

    def read_double(samples, item):
        batch = read(samples, item)
        batch.audio = batch.audio.double()
        return batch

    doubled = patch.object(torch.Tensor, "float", torch.Tensor.double)
    with doubled, patch.object(ClipSamples, "__getitem__", read_double):
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


def train_both(folder: Path, name: str, accumulate: int) -> None:
    for model, precision in (("avsegformer", nullcontext), ("aavs", in_float64)):
        given = {**GIVEN, "model": model, "name": f"{model}-{name}", "accumulate": accumulate}
        with precision():
            train(Workspace(folder), resolve_training("avs", "tiny", "all", given), device="cpu")


if __name__ == "__main__":
    with joined():
        train_both(Path(), sys.argv[1], int(sys.argv[2]))
