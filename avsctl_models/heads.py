"""The last layers of models that predict every pixel's logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PixelHead(nn.Module):
    """From mask features to logits at the frames' size.

    Args:
        dim: Channels C of the mask features.
        hidden: Channels before and after enlarging.
        outputs: Number of logits.
        scale: Size of the logits over that of the mask features.
        bias: Whether the last convolution has a bias.
    Source: AVSBench (ECCV 2022) and AVSegFormer (AAAI 2024), which share it.
    """

    def __init__(self, dim: int, hidden: Sequence[int], outputs: int, *, scale: int, bias: bool):
        super().__init__()
        self.scale = scale
        self.reduce = nn.Conv2d(dim, hidden[0], 3, padding=1)
        self.refine = nn.Conv2d(hidden[0], hidden[1], 3, padding=1)
        self.classify = nn.Conv2d(hidden[1], outputs, 1, bias=bias)

    def forward(self, mask_features: Tensor) -> Tensor:
        """Predict logits (N, outputs, scale * h, scale * w) of mask features (N, C, h, w)."""
        x = F.interpolate(self.reduce(mask_features), scale_factor=self.scale, mode="bilinear", align_corners=False)
        return self.classify(torch.relu(self.refine(x)))
