"""From a batch of clips to per-class maps: what validation, evaluate, predict-priors and visualize share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avsctl.configs import LABEL_SIZE
from avsctl.training.devices import autocast
from avsctl_models import semantic_inference


@torch.inference_mode()
def class_maps(
    model: nn.Module,
    frames: Tensor,
    audio: Tensor,
    prior: Tensor | None = None,
    *,
    size: int | tuple[int, int] = LABEL_SIZE,
    precision: str = "fp32",
    frames_at_once: int = 20,
) -> Tensor:
    """Per-class maps of frames, computed in pieces of bounded memory.

    Args:
        frames: (N, 3, S, S) uint8; audio: (N, D); prior: (N, p, p) in [0, 1] or None.
        size: side (or height and width) of the maps.
    Returns: (N, K, h, w) float32 on the CPU: the sum over queries of class probability times mask probability.
    """
    device = next(model.parameters()).device
    size = (size, size) if isinstance(size, int) else size
    maps = []
    for start in range(0, len(frames), frames_at_once):
        part = slice(start, start + frames_at_once)
        with autocast(device, precision):
            output = model(
                model.normalize(frames[part].to(device)),
                audio[part].to(device),
                None if prior is None else prior[part].to(device),
            )
        maps.append(semantic_inference(output, size).cpu())
    return torch.cat(maps)


def decide(maps: Tensor) -> Tensor:
    """The class of each pixel: the argmax over (N, K, h, w), the lowest index where classes are equal.

    Returns: (N, h, w) uint8. One comparison per class is many times faster on a CPU than `argmax` across planes.
    """
    best = maps[:, 0].clone()
    decided = torch.zeros(best.shape, dtype=torch.uint8)
    for index in range(1, maps.shape[1]):
        larger = maps[:, index] > best
        decided.masked_fill_(larger, index)
        torch.maximum(best, maps[:, index], out=best)
    return decided


def sounding_probability(maps: Tensor) -> Tensor:
    """p = l1 / (l0 + l1) of the two class maps (N, 2, h, w): above 0.5 exactly where the argmax says sounding."""
    total = maps.sum(1)
    # Where both maps are 0 the argmax takes class 0: silent.
    return torch.where(total > 0, maps[:, 1] / total.clamp_min(torch.finfo(maps.dtype).tiny), torch.zeros_like(total))
