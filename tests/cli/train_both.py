"""Train AVSegFormer, and AAVS in float64, in the workspace that is the current folder: started by torchrun in a test.

With `overflow` behind, train also in fp16, where the gradient of one process overflows.

The gradient of AAVS jumps where rounding turns a unit of a ReLU, a match, a chosen point or a pixel of an attention
mask, which float32's rounding does once in a few trainings, and float64's a billion times less often.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

import torch

from avsctl.caches.files import hash_of
from avsctl.configs import resolve_training
from avsctl.data.samples import ClipSamples
from avsctl.distributed import joined, rank, world_size
from avsctl.stages.train import train
from avsctl.training.loop import Trainer
from avsctl.training.step import Gradients
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


def train_with_overflow(folder: Path) -> None:
    """Three steps in fp16; in the second, one gradient is infinite in the last process alone.

    Each process leaves the loss's scale and a hash of its weights after every step in `overflow-RANK.json`.
    """
    noted = []
    backward, step = Gradients._backward, Trainer._step

    def overflow(gradients, parts, whole):
        computed = backward(gradients, parts, whole)
        if rank() == world_size() - 1 and gradients.step == (0, 1):
            gradient = next(one.grad for one in gradients.trained if one.grad is not None)
            gradient.flatten()[0] = math.inf
        return computed

    def note(trainer, batch):
        if not noted:
            trainer.scaler = torch.amp.GradScaler("cpu", init_scale=16.0)  # PyTorch's 65,536 overflows by itself
        values = step(trainer, batch)
        weights = (parameter.detach().numpy().tobytes() for parameter in trainer.model.parameters())
        noted.append([trainer.scaler.get_scale(), hash_of(*weights)])
        return values

    given = {**GIVEN, "precision": "fp16", "epochs": 1, "batch_clips": 2, "name": "overflow"}
    with patch.object(Gradients, "_backward", overflow), patch.object(Trainer, "_step", note):
        train(Workspace(folder), resolve_training("avs", "tiny", "all", given), device="cpu")
    (folder / f"overflow-{rank()}.json").write_text(json.dumps(noted))


if __name__ == "__main__":
    name, accumulate, *more = sys.argv[1:]
    with joined():
        train_both(Path(), name, int(accumulate))
        if more == ["overflow"]:
            train_with_overflow(Path())
