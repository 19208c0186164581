"""Multi-scale deformable attention over strides 32, 16 and 8, then one pyramid step to stride 4."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsctl_models.adapters import output_projection, xavier_linear
from avsctl_models.pieces import in_pieces
from avsctl_models.pixel_decoders.sampling import sample_levels
from avsctl_models.positions import sine_positions

LEVELS = 3


class DeformableAttention(nn.Module):
    """Attention in which every token reads a few points of every level, at places it predicts itself.

    Args:
        dim: Channels C.
        heads: Number of heads, dividing C.
        points: Points per head and level.
        adapters: "none", "replace" or "follow", see `output_projection`.
    Source: Deformable DETR (ICLR 2021), Eq. 3.
    """

    def __init__(self, dim: int, heads: int, *, points: int = 4, adapters: str = "none"):
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads do not divide {dim} channels")
        self.heads, self.points = heads, points
        self.offsets = nn.Linear(dim, heads * LEVELS * points * 2)
        self.weights = nn.Linear(dim, heads * LEVELS * points)
        self.value = xavier_linear(dim, dim)
        self.output = output_projection(dim, adapters, std=0.02)
        self.reset()

    def reset(self) -> None:
        """Draw the initial weights."""
        for layer in (module for module in (self.value, self.output) if isinstance(module, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        # Heads start by looking in evenly spread directions, further with each point, all equally strong.
        angles = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        directions = torch.stack([angles.cos(), angles.sin()], -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1, dtype=torch.float32)
        grid = directions[:, None, None, :] * steps[None, None, :, None]  # (heads, 1, points, 2)
        with torch.no_grad():
            self.offsets.bias.copy_(grid.expand(-1, LEVELS, -1, -1).flatten())
        nn.init.zeros_(self.offsets.weight)
        for parameter in self.weights.parameters():
            nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor, positions: Tensor, reference: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
        """Attend from every token to all levels.

        Args:
            tokens: (N, L, C) of all levels, one after the other, each row by row.
            positions: (1, L, C) position code, added to the queries only.
            reference: (L, 2) own place (x, y) of every token in [0, 1].
            sizes: (height, width) of each level.
        Returns: (N, L, C).
        """
        frames, length, dim = tokens.shape
        heads, points = self.heads, self.points

        # values and places need float32
        values = self.value(tokens).float().view(frames, length, heads, -1)
        # One product for all places, x and y apart, and weights
        apart = (t.unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1) for t in self.offsets.parameters())
        projection = [torch.cat(pair) for pair in zip(apart, self.weights.parameters(), strict=True)]
        projected = F.linear(tokens + positions, *projection).float().unflatten(-1, (3, heads, -1))
        x, y, weights = projected.unbind(2)  # (N, L, heads, levels * P) each
        scale = reference.new_tensor([(width, height) for height, width in sizes]).repeat_interleave(points, 0)
        own = reference[:, None, None] * scale - 0.5  # (L, 1, levels * P, 2) in pixels
        shape = (frames, length, heads, LEVELS, points)
        x, y, weights = (x + own[..., 0]).view(shape), (y + own[..., 1]).view(shape), _softmax(weights).view(shape)
        mixed = sample_levels(values, x, y, weights, sizes).flatten(2)
        return self.output(mixed.to(tokens.dtype))


class DeformableLayer(nn.Module):
    """Deformable attention and a two-layer network, each followed by a norm over the residual sum.

    Args:
        dim, heads, hidden, points: Sizes.
        adapters: "none", "replace" or "follow", see `output_projection`.
        activation: Between the two layers; it may write over its input.
        dropout: Share of what attention, and either layer, give that is dropped in training.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        points: int,
        adapters: str = "none",
        activation: Callable[[Tensor], Tensor] = torch.relu_,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.attention = DeformableAttention(dim, heads, points=points, adapters=adapters)
        self.attention_norm = nn.LayerNorm(dim)
        self.fc1 = xavier_linear(dim, hidden)
        self.fc2 = xavier_linear(hidden, dim)
        self.final_norm = nn.LayerNorm(dim)
        self.activation = activation
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, positions: Tensor, reference: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
        attended = self.attention(tokens, positions, reference, sizes)
        tokens = self.attention_norm(tokens + self.dropout(attended))
        return in_pieces(self._widen, tokens.flatten(0, 1), each=self.fc1.out_features).view_as(tokens)

    def _widen(self, tokens: Tensor) -> Tensor:
        widened = self.dropout(self.activation(self.fc1(tokens)))
        return self.final_norm(tokens + self.dropout(self.fc2(widened)))


class DeformablePixelDecoder(nn.Module):
    """Mask2Former's pixel decoder.

    Args:
        channels: Channels of the four backbone maps, strides 4, 8, 16, 32.
        dim: Channels C of the three levels.
        mask_dim: Channels Cm of the mask features.
        layers, heads, points, hidden: Sizes of the attention layers.
        adapters: "none", "replace" or "follow", see `output_projection`.
    Source: Mask2Former (CVPR 2022), as used by the released Stepping Stones (ECCV 2024).
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        dim: int,
        mask_dim: int,
        *,
        layers: int = 6,
        heads: int = 8,
        points: int = 4,
        hidden: int = 1024,
        adapters: str = "none",
    ):
        super().__init__()
        self.projections = nn.ModuleList(convolution(width, dim, 1, bias=True) for width in reversed(channels[1:]))
        self.level_embedding = nn.Parameter(torch.randn(LEVELS, dim))
        self.layers = nn.ModuleList(
            DeformableLayer(dim, heads, hidden, points=points, adapters=adapters) for _ in range(layers)
        )
        self.lateral = convolution(channels[0], dim, 1)
        self.smooth = convolution(dim, dim, 3)
        self.mask_features = nn.Conv2d(dim, mask_dim, 1)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Refine backbone maps.

        Args:
            features: Four maps (N, channels[i], H/2^(i+2), W/2^(i+2)).
        Returns: Three maps (N, C, h, w) of strides 32, 16, 8, and mask features (N, Cm, H/4, W/4).
        """
        maps = [project(f) for project, f in zip(self.projections, features[:0:-1], strict=True)]
        tokens, sizes = flatten_levels(maps)
        positions = level_positions(sizes, self.level_embedding).to(tokens.dtype)
        reference = cell_centres(sizes, tokens.device)
        for layer in self.layers:
            tokens = layer(tokens, positions, reference, sizes)

        maps = split_levels(tokens, sizes)
        each = self.level_embedding.shape[1] * features[0][0, 0].numel()
        return maps, in_pieces(self._finest, features[0], maps[-1], each=each)

    def _finest(self, feature: Tensor, coarser: Tensor) -> Tensor:
        """Mask features (n, Cm, H/4, W/4) of the backbone's finest map and the level below."""
        finest = self.lateral(feature)
        finest = finest + F.interpolate(coarser, finest.shape[-2:], mode="bilinear", align_corners=False)
        return self.mask_features(torch.relu_(self.smooth(finest)))


def _softmax(logits: Tensor) -> Tensor:
    """Softmax over the last axis; of few logits a CPU computes it many rows at a time."""
    if logits.device.type != "cpu" or torch.compiler.is_compiling():
        return logits.softmax(-1)
    return logits.movedim(-1, 0).contiguous().softmax(0).movedim(0, -1)


def flatten_levels(maps: list[Tensor]) -> tuple[Tensor, list[tuple[int, int]]]:
    """Turn maps (N, C, h, w) into tokens (N, L, C), one level after the other, and their (h, w)."""
    sizes = [(m.shape[-2], m.shape[-1]) for m in maps]
    return torch.cat([m.flatten(2) for m in maps], -1).transpose(1, 2), sizes


def split_levels(tokens: Tensor, sizes: list[tuple[int, int]]) -> list[Tensor]:
    """Undo `flatten_levels`."""
    split = tokens.transpose(1, 2).split([h * w for h, w in sizes], -1)
    return [part.unflatten(2, size) for part, size in zip(split, sizes, strict=True)]


def level_positions(sizes: list[tuple[int, int]], embedding: Tensor, *, normalized: bool = True) -> Tensor:
    """Position codes of all tokens with their level's row of an embedding (levels, C) added: (1, L, C)."""
    codes = []
    for size, level in zip(sizes, embedding, strict=True):
        code = sine_positions(*size, len(level), normalized=normalized, device=embedding.device)
        codes.append(code.flatten(2).transpose(1, 2) + level)
    return torch.cat(codes, 1)


def convolution(inputs: int, outputs: int, kernel: int, *, bias: bool = False) -> nn.Sequential:
    """Convolution that keeps the size, Xavier-initialised, and a group norm of 32 groups where they fit."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, nn.GroupNorm(math.gcd(32, outputs), outputs))


def cell_centres(sizes: list[tuple[int, int]], device: torch.device) -> Tensor:
    """Centres (x, y) of all cells of all levels, in [0, 1]: (L, 2)."""
    centres = []
    for height, width in sizes:
        y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)  # (h, w, 2) as (y, x)
        centres.append(grid.flatten(0, 1).flip(-1))
    return torch.cat(centres)
