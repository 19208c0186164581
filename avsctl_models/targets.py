"""Training targets: one binary mask per class present in a frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

IGNORED = 255


@dataclass
class Target:
    """What one frame shows.

    Attributes:
        masks: (n, H, W) bool, one per class present, background included.
        classes: (n,) int64, ascending.
    """

    masks: Tensor
    classes: Tensor


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize label maps by nearest neighbour, as PIL does.

    Args:
        labels: (N, h, w) integer class indices.
        size: (H, W) of the result.
    Returns: (N, H, W) of the same type.
    Raises: ValueError: If labels have another number of axes.
    """
    if labels.ndim != 3:
        raise ValueError(f"labels must be (N, h, w), not {tuple(labels.shape)}")
    if tuple(labels.shape[-2:]) == tuple(size):
        return labels
    resized = F.interpolate(labels[:, None].float(), size=tuple(size), mode="nearest-exact")
    return resized[:, 0].to(labels.dtype)


def targets_from_labels(labels: Tensor, size: tuple[int, int]) -> list[Target]:
    """Split label maps into one binary mask per value present.

    Args:
        labels: (N, h, w) integer class indices, 0 the background, 255 for pixels that belong to nothing.
        size: (H, W) of the model's input; labels are resized to it by nearest neighbour, as PIL does.
    Returns: One target per frame; background is an ordinary class with its own mask.
    Source: the released preprocessing of Stepping Stones (ECCV 2024), after MaskFormer's.
    """
    labels = resize_labels(labels, size)
    return [
        Target(masks=label[None] == classes[:, None, None], classes=classes)
        for label, classes in zip(labels, classes_present(labels), strict=True)
    ]


def classes_present(labels: Tensor) -> list[Tensor]:
    """The classes in each of (N, h, w) label maps, ascending, without what belongs to nothing: N of (n,) int64."""
    present = (label.flatten().bincount().nonzero()[:, 0] for label in labels)  # unlike `unique`, sorts nothing
    return [classes[classes != IGNORED] for classes in present]
