"""Attention of every query to every key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsctl_models.adapters import output_projection, xavier_linear


@contextmanager
def full_precision_on_cpu(*tensors: Tensor) -> Iterator[list[Tensor]]:
    """Give tensors as float32 and switch autocast off, if they are on a CPU; else leave both as they are."""
    if tensors[0].device.type != "cpu":
        yield list(tensors)
        return
    with torch.autocast("cpu", enabled=False):
        yield [tensor.float() for tensor in tensors]


class Attention(nn.Module):
    """Multi-head attention with separate projections and an exchangeable output projection.

    Args:
        dim: Channels C.
        heads: Number of heads, dividing C.
        adapters: "none", "replace" or "follow", see `output_projection`.
        bias, output_bias: Whether the three input projections, and a plain output projection, have a bias.
        dropout: Share of the attention weights that is dropped in training.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        adapters: str = "none",
        bias: bool = True,
        output_bias: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads do not divide {dim} channels")
        self.heads, self.dropout = heads, dropout
        self.query = xavier_linear(dim, dim, bias=bias)
        self.key = xavier_linear(dim, dim, bias=bias)
        self.value = xavier_linear(dim, dim, bias=bias)
        self.output = output_projection(dim, adapters, std=None, bias=output_bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            query: (N, Q, C).
            key, value: (N, S, C).
            allowed: (N, 1, Q, S) bool, True where a query may look; None for everywhere.
        Returns: (N, Q, C).
        """
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (N, heads, tokens, C/heads)
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        dropout = self.dropout if self.training else 0.0
        with full_precision_on_cpu(q, k, v) as (q, k, v):  # where bf16 takes five times as long for the gradient
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=dropout)
        return self.output(mixed.transpose(1, 2).flatten(2).to(query.dtype))
