"""Feature pyramid: neighbouring resolutions merged one after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsctl_models.pixel_decoders.deformable import convolution


class FeaturePyramidPixelDecoder(nn.Module):
    """Pixel decoder of 1x1 lateral and 3x3 smoothing convolutions from coarse to fine.

    Args:
        channels: Channels of the four backbone maps, strides 4, 8, 16, 32.
        dim: Channels C of the three levels.
        mask_dim: Channels Cm of the mask features.
    Source: FPN (CVPR 2017); the text of Stepping Stones (ECCV 2024) describes it, its released code uses
        deformable attention instead.
    """

    def __init__(self, channels: tuple[int, ...], dim: int, mask_dim: int):
        super().__init__()
        self.laterals = nn.ModuleList(convolution(width, dim, 1) for width in reversed(channels))
        self.smooths = nn.ModuleList(convolution(dim, dim, 3) for _ in channels)
        self.mask_features = nn.Conv2d(dim, mask_dim, 1)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Merge backbone maps.

        Args:
            features: Four maps (N, channels[i], H/2^(i+2), W/2^(i+2)).
        Returns: Three maps (N, C, h, w) of strides 32, 16, 8, and mask features (N, Cm, H/4, W/4).
        """
        maps: list[Tensor] = []
        for lateral, smooth, feature in zip(self.laterals, self.smooths, reversed(features), strict=True):
            merged = lateral(feature)
            if maps:
                size = merged.shape[-2:]
                merged = merged + F.interpolate(maps[-1], size, mode="bilinear", align_corners=False)
            maps.append(torch.relu(smooth(merged)))
        return maps[:3], self.mask_features(maps[3])
