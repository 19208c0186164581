"""Queries that look at each other, then at a memory, layer by layer."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsctl_models.adapters import xavier_linear
from avsctl_models.attention import Attention


class QueryLayer(nn.Module):
    """Self-attention, cross-attention and a two-layer network, each followed by a norm over the sum.

    Args:
        dim, heads, hidden: Sizes.
        bias: Whether the attentions have biases.
        activation: Between the two layers.
        dropout: Share of attention weights, and of what every part gives, that is dropped in training.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        bias: bool = True,
        activation: Callable[[Tensor], Tensor] = F.gelu,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.self_attention = Attention(dim, heads, bias=bias, output_bias=bias, dropout=dropout)
        self.self_norm = nn.LayerNorm(dim)
        self.cross_attention = Attention(dim, heads, bias=bias, output_bias=bias, dropout=dropout)
        self.cross_norm = nn.LayerNorm(dim)
        self.fc1 = xavier_linear(dim, hidden)
        self.fc2 = xavier_linear(hidden, dim)
        self.final_norm = nn.LayerNorm(dim)
        self.activation = activation
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """Refine queries (N, Q, C) by a memory (N, L, C)."""
        queries = self.self_norm(queries + self.dropout(self.self_attention(queries, queries, queries)))
        queries = self.cross_norm(queries + self.dropout(self.cross_attention(queries, memory, memory)))
        widened = self.dropout(self.activation(self.fc1(queries)))
        return self.final_norm(queries + self.dropout(self.fc2(widened)))


class QueryGenerator(nn.Module):
    """Learnable queries that take in the sound of their frame.

    Args:
        queries: Number of queries Q.
        dim, heads, hidden, layers: Sizes.
    Source: AVSegFormer (AAAI 2024), its audio query generator.
    """

    def __init__(self, queries: int, dim: int, *, heads: int = 8, hidden: int = 1024, layers: int = 6):
        super().__init__()
        self.queries = nn.Parameter(torch.empty(queries, dim))
        nn.init.xavier_uniform_(self.queries)
        self.layers = nn.ModuleList(QueryLayer(dim, heads, hidden, bias=False) for _ in range(layers))

    def forward(self, sound: Tensor) -> Tensor:
        """Make the queries (N, Q, C) of N frames from their sound (N, C)."""
        queries = self.queries.expand(len(sound), -1, -1)
        for layer in self.layers:
            queries = layer(queries, sound[:, None])
        return queries
