"""AVSBench's pixel decoder: dilated convolutions on every level, then residual units from coarse to fine."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DILATIONS = (3, 6, 12, 18)


class DilatedProjection(nn.Module):
    """Sum of four 3x3 convolutions that look ever further around a pixel; the size stays.

    Source: AVSBench (ECCV 2022), after DeepLab's atrous spatial pyramid; initial spread 0.01 as released.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        layers = [nn.Conv2d(inputs, outputs, 3, padding=d, dilation=d) for d in DILATIONS]
        for layer in layers:
            nn.init.normal_(layer.weight, std=0.01)
        self.convolutions = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return sum(layer(x) for layer in self.convolutions)


class ResidualUnit(nn.Module):
    """Two convolutions beside a shortcut that carries the input after its ReLU.

    The released ReLU works in place, so the shortcut carries what it left.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        return x + self.conv2(torch.relu(self.conv1(x)))


class MergingStep(nn.Module):
    """One step towards finer maps: add a level, if there is a coarser one already, and double the size."""

    def __init__(self, dim: int, *, first: bool):
        super().__init__()
        self.lateral = None if first else ResidualUnit(dim)
        self.refine = ResidualUnit(dim)

    def forward(self, level: Tensor, coarser: Tensor | None) -> Tensor:
        x = level if self.lateral is None else coarser + self.lateral(level)
        return F.interpolate(self.refine(x), scale_factor=2, mode="bilinear", align_corners=True)


class ResidualPyramid(nn.Module):
    """Merge four maps from coarse to fine into mask features of half the frames' size.

    Args:
        dim: Channels C of all maps.
    Source: AVSBench (ECCV 2022); the decoder is that of DPT (ICCV 2021).
    """

    def __init__(self, dim: int):
        super().__init__()
        self.steps = nn.ModuleList(MergingStep(dim, first=i == 0) for i in range(4))

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Merge.

        Args:
            maps: Four maps (N, C, H/2^(i+2), W/2^(i+2)).
        Returns: (N, C, H/2, W/2).
        """
        first, *others = self.steps
        merged = first(maps[-1], None)
        for step, level in zip(others, maps[-2::-1], strict=True):
            merged = step(level, merged)
        return merged
