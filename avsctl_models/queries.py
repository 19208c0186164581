"""Queries that carry the sound of their frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

QUERY_KINDS = ("adaptive", "repeated")


class AudioQueries(nn.Module):
    """Learnable queries, each given its frame's audio by how well its prototype agrees with it.

    Args:
        queries: Number of queries Q.
        dim: Channels C.
        kind: "adaptive" weights the audio by the cosine similarity between it and the query's position
            embedding, which serves as audio prototype; "repeated" adds the same audio to every query.
    Raises: ValueError: If `kind` is neither.
    Source: Stepping Stones (ECCV 2024), Eq. 1; "repeated" is the ablation beside it.
    """

    def __init__(self, queries: int, dim: int, *, kind: str = "adaptive"):
        super().__init__()
        if kind not in QUERY_KINDS:
            raise ValueError(f"query must be one of {', '.join(QUERY_KINDS)}, not {kind!r}")
        self.features = nn.Parameter(torch.randn(queries, dim))
        self.positions = nn.Parameter(torch.randn(queries, dim))
        self.kind = kind

    def forward(self, audio: Tensor | None, frames: int) -> Tensor:
        """Make the initial queries.

        Args:
            audio: (N, C) projected audio of each frame; None gives the plain queries.
            frames: Number of frames N.
        Returns: (N, Q, C).
        """
        features = self.features.expand(frames, -1, -1)
        if audio is None:
            return features
        if self.kind == "repeated":
            return features + audio[:, None]
        prototypes = F.normalize(self.positions.float(), dim=-1, eps=1e-8)
        similarity = F.normalize(audio.float(), dim=-1, eps=1e-8) @ prototypes.T  # (N, Q)
        return features + similarity[..., None].to(audio.dtype) * audio[:, None]
