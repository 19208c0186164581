"""AVSegFormer's pixel decoder: deformable attention over strides 8, 16 and 32, kept as tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsctl_models.pixel_decoders.deformable import (
    LEVELS,
    DeformableLayer,
    cell_centres,
    convolution,
    flatten_levels,
    level_positions,
    split_levels,
)


class MemoryPixelDecoder(nn.Module):
    """Refine three levels together, and make mask features of the finest of them and stride 4.

    Args:
        channels: Channels of the four backbone maps, strides 4, 8, 16, 32.
        dim: Channels C of tokens and mask features.
        layers, heads, points, hidden, dropout: Sizes of the attention layers.
    Source: AVSegFormer (AAAI 2024), after Deformable DETR.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        dim: int,
        *,
        layers: int = 6,
        heads: int = 8,
        points: int = 4,
        hidden: int = 2048,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.projections = nn.ModuleList(convolution(width, dim, 1, bias=True) for width in channels)
        self.level_embedding = nn.Parameter(torch.randn(LEVELS, dim))
        self.layers = nn.ModuleList(
            DeformableLayer(dim, heads, hidden, points=points, activation=F.gelu, dropout=dropout)
            for _ in range(layers)
        )
        self.lateral = convolution(dim, dim, 1, bias=True)
        self.smooth = convolution(dim, dim, 3, bias=True)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Refine backbone maps.

        Args:
            features: Four maps (N, channels[i], H/2^(i+2), W/2^(i+2)).
        Returns: Tokens (N, L, C) of strides 8, 16, 32, and mask features (N, C, H/4, W/4), at least 0.
        """
        finest, *maps = (project(f) for project, f in zip(self.projections, features, strict=True))
        tokens, sizes = flatten_levels(maps)
        positions = level_positions(sizes, self.level_embedding, normalized=False)
        reference = cell_centres(sizes, tokens.device)
        for layer in self.layers:
            tokens = layer(tokens, positions, reference, sizes)

        refined = split_levels(tokens, sizes)[0]
        lateral = self.lateral(finest)
        merged = lateral + F.interpolate(refined, lateral.shape[-2:], mode="bilinear", align_corners=False)
        return tokens, torch.relu(self.smooth(merged))
