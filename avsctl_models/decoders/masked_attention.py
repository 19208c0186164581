"""Transformer decoder whose queries look only where their last mask says."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsctl_models.adapters import xavier_linear
from avsctl_models.attention import Attention

LEVELS = 3


class DecoderLayer(nn.Module):
    """Cross-attention, self-attention and a two-layer network, each followed by a norm over the sum."""

    def __init__(self, dim: int, heads: int, hidden: int, *, adapters: str):
        super().__init__()
        self.cross_attention = Attention(dim, heads)
        self.cross_norm = nn.LayerNorm(dim)
        self.self_attention = Attention(dim, heads, adapters=adapters)
        self.self_norm = nn.LayerNorm(dim)
        self.fc1 = xavier_linear(dim, hidden)
        self.fc2 = xavier_linear(hidden, dim)
        self.final_norm = nn.LayerNorm(dim)

    def forward(
        self, queries: Tensor, positions: Tensor, keys: Tensor, values: Tensor, allowed: Tensor | None
    ) -> Tensor:
        queries = self.cross_norm(queries + self.cross_attention(queries + positions, keys, values, allowed))
        placed = queries + positions
        queries = self.self_norm(queries + self.self_attention(placed, placed, queries))
        return self.final_norm(queries + self.fc2(torch.relu(self.fc1(queries))))


class MaskedAttentionDecoder(nn.Module):
    """Mask2Former's transformer decoder.

    Args:
        dim: Channels C of queries and levels.
        mask_dim: Channels Cm of the mask features.
        classes: Number of classes K without "no object".
        layers: Number of layers; layer i reads level i mod 3, coarse to fine.
        heads, hidden: Sizes of a layer.
        adapters: "none", "replace" or "follow", on the self-attention, see `output_projection`.
        masked: Whether cross-attention is masked at all; without, queries see all of every level.
    Source: Mask2Former (CVPR 2022), as used by the released Stepping Stones (ECCV 2024).
    """

    def __init__(
        self,
        dim: int,
        mask_dim: int,
        classes: int,
        *,
        layers: int = 9,
        heads: int = 8,
        hidden: int = 2048,
        adapters: str = "none",
        masked: bool = True,
    ):
        super().__init__()
        self.masked = masked
        self.level_embedding = nn.Parameter(torch.randn(LEVELS, dim))
        self.layers = nn.ModuleList(DecoderLayer(dim, heads, hidden, adapters=adapters) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.class_head = nn.Linear(dim, classes + 1)
        self.mask_head = nn.Sequential(
            xavier_linear(dim, dim),
            nn.ReLU(),
            xavier_linear(dim, dim),
            nn.ReLU(),
            xavier_linear(dim, mask_dim),
        )

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        maps: list[Tensor],
        key_positions: list[Tensor],
        mask_features: Tensor,
        *,
        first_mask: Tensor | None = None,
        trace: dict | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Refine queries and predict before every layer and after the last.

        Args:
            queries: (N, Q, C) initial queries.
            positions: (Q, C) position embeddings of the queries.
            maps: Three levels (N, C, h, w), strides 32, 16, 8.
            key_positions: (1 or N, C, h, w) per level, added to keys but not to values.
            mask_features: (N, Cm, H/4, W/4).
            first_mask: (N, Q, h*w) bool for the first layer in place of its predicted mask, True is blocked.
            trace: Where to keep inner tensors, if anywhere.
        Returns: (class_logits (N, Q, K+1), mask embeddings (N, Q, Cm)) of all layers + 1 predictions; the product of
            embeddings and mask features is the masks.
        """
        values = [
            (level + embedding[:, None, None]).flatten(2).transpose(1, 2)  # (N, h*w, C)
            for level, embedding in zip(maps, self.level_embedding, strict=True)
        ]
        keys = [v + p.flatten(2).transpose(1, 2).to(v.dtype) for v, p in zip(values, key_positions, strict=True)]
        if trace is not None:
            trace.update(values=values, attention_masks=[], queries_normed=[])

        # A resized mask is the product with resized features, which takes far less than resizing every mask.
        sizes = [(m.shape[-2], m.shape[-1]) for m in maps] if self.masked else []
        small = [resized(mask_features, size) for size in sizes]  # (N, Cm, h*w)

        predictions = [self._predict(queries, trace)]
        for i, layer in enumerate(self.layers):
            level = i % LEVELS
            allowed = None
            if self.masked:
                given = first_mask if i == 0 else None
                blocked = _blocked(predictions[-1][1], small[level]) if given is None else given
                allowed = _rescue(blocked, trace)
            queries = layer(queries, positions, keys[level], values[level], allowed)
            predictions.append(self._predict(queries, trace))
        if trace is not None:
            trace["queries_last"] = queries
        return predictions

    def _predict(self, queries: Tensor, trace: dict | None) -> tuple[Tensor, Tensor]:
        normed = self.norm(queries)
        if trace is not None:
            trace["queries_normed"].append(normed)
        return self.class_head(normed), self.mask_head(normed)


@torch.no_grad()
def resized(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Features (N, Cm, H, W) resized bilinearly, without smoothing: (N, Cm, h*w)."""
    step = features.shape[-2] // size[0]
    if step % 2 or features.shape[-2:] != (step * size[0], step * size[1]):
        resized = F.interpolate(features.float(), size, mode="bilinear", align_corners=False)
    else:
        # A pixel's centre lies in the middle of four others: their mean, in a sixth of the time.
        before, behind = slice(step // 2 - 1, None, step), slice(step // 2, None, step)
        upper, lower = (features[..., rows, :] for rows in (before, behind))
        upper, lower = (rows[..., before].float() + rows[..., behind].float() for rows in (upper, lower))
        resized = (upper + lower) / 4
    return resized.to(features.dtype).flatten(2)


@torch.no_grad()
def _blocked(embeddings: Tensor, features: Tensor) -> Tensor:
    """Where predicted masks (N, Q, Cm) x (N, Cm, h*w) keep attention out: (N, Q, h*w)."""
    return (embeddings @ features).sigmoid() < 0.5


def _rescue(blocked: Tensor, trace: dict | None) -> Tensor:
    """Open everything to queries that could look nowhere; returns what is allowed: (N, 1, Q, h*w)."""
    blocked = blocked & ~blocked.all(-1, keepdim=True)
    if trace is not None:
        trace["attention_masks"].append(blocked)
    return ~blocked[:, None]
