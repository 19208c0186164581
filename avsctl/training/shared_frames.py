"""One picture with several sounds: a frozen backbone sees it once."""

from __future__ import annotations

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from avsctl_models import SegmentationModel


def is_steady(backbone: nn.Module) -> bool:
    """Whether a backbone that isn't trained gives the same maps of a picture each time, whatever its company."""
    if any(parameter.requires_grad for parameter in backbone.parameters()):
        return False
    return not any(module.training and _changes_maps(module) for module in backbone.modules())


def _changes_maps(module: nn.Module) -> bool:
    if isinstance(module, DropPath):
        return module.drop_prob > 0
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    return isinstance(module, _BatchNorm)  # it takes its statistics from the batch, and counts it


@torch.no_grad()
def shared_maps(model: SegmentationModel, frames: Tensor) -> list[Tensor]:
    """The maps of a steady backbone, computed once of a picture that comes several times in a row.

    They are those of a call with all frames but for the rounding of sums over another number of frames.

    Args:
        frames: (N, 3, S, S) uint8, on any device.
    Returns: four maps (N, C, h, w) on the model's device; none where no picture comes twice or the backbone isn't
        steady.
    """
    if not is_steady(model.backbone):
        return []
    new = torch.tensor([True, *((one != before).any() for before, one in zip(frames, frames[1:], strict=False))])
    if new.all():
        return []
    device = next(model.parameters()).device
    place = (new.cumsum(0) - 1).to(device)
    return [level[place] for level in model.backbone(model.normalize(frames[new].to(device)))]
