"""The three places where stage 2 uses the result of stage 1, the prior."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def resize_prior(prior: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a prior bilinearly, without smoothing before shrinking, as released.

    Args:
        prior: (N, h, w) sounding probability in [0, 1].
    Returns: (N, 1, *size).
    """
    return F.interpolate(prior[:, None].float(), size=tuple(size), mode="bilinear", align_corners=False)


def fuse_prior(mask_features: Tensor, prior: Tensor) -> Tensor:
    """Add the prior to every channel of the mask features.

    Args:
        mask_features: (N, C, H, W) features that mask embeddings are multiplied with.
        prior: (N, h, w) sounding probability in [0, 1], any size.
    Source: Stepping Stones (ECCV 2024), mask fusion in the prediction head.
    """
    return mask_features + resize_prior(prior, mask_features.shape[-2:]).to(mask_features.dtype)


def prior_attention_mask(prior: Tensor, size: Sequence[int], queries: int) -> Tensor:
    """Block what the prior calls silent in the first cross-attention, for all queries alike.

    Args:
        prior: (N, h, w) sounding probability in [0, 1], any size.
        size: (height, width) of the first level's map.
    Returns: (N, queries, height * width) bool, True where attention is blocked.
    Source: Stepping Stones (ECCV 2024), initialisation of the attention mask; threshold 0.5 as released.
    """
    blocked = resize_prior(prior, size).flatten(2) < 0.5  # (N, 1, h*w)
    return blocked.expand(-1, queries, -1)


def robust_audio_keys(
    features: Tensor, prior: Tensor, embeddings: Tensor, *, low: float = 0.4, high: float = 0.6
) -> Tensor:
    """Mark each visual key as silent, uncertain or sounding.

    Args:
        features: (B or 1, C, H, W) keys of one level, or the position code that is added to them.
        prior: (B, h, w) stage-1 sounding probability in [0, 1], any size.
        embeddings: (3, C) added to silent, uncertain and sounding keys, in this order.
        low, high: At most `low` is silent, at least `high` is sounding, between is uncertain.
    Returns: (B, C, H, W) keys for cross-attention.
    Raises: ValueError: If the batch sizes differ or low >= high.
    Source: Stepping Stones (ECCV 2024), Eq. 4.
    """
    if low >= high:
        raise ValueError(f"The lower threshold {low} must lie below the upper one {high}")
    if features.shape[0] not in (1, prior.shape[0]):
        raise ValueError(f"{features.shape[0]} feature maps do not fit a prior of {prior.shape[0]} frames")
    values = resize_prior(prior, features.shape[-2:])[:, 0]  # (B, H, W)
    state = 1 - (values <= low).long() + (values >= high).long()
    return features + embeddings[state].permute(0, 3, 1, 2)


class RobustAudioKeys(nn.Module):
    """Learnable embeddings of silent, uncertain and sounding keys, shared by all levels and layers.

    Source: Stepping Stones (ECCV 2024), Eq. 4; thresholds and N(0, 0.02) as released.
    """

    def __init__(self, dim: int, *, low: float = 0.4, high: float = 0.6):
        super().__init__()
        if low >= high:
            raise ValueError(f"The lower threshold {low} must lie below the upper one {high}")
        self.embeddings = nn.Parameter(torch.empty(3, dim))
        nn.init.normal_(self.embeddings, std=0.02)
        self.low, self.high = low, high

    def forward(self, features: Tensor, prior: Tensor) -> Tensor:
        """See `robust_audio_keys`."""
        return robust_audio_keys(features, prior, self.embeddings, low=self.low, high=self.high)
