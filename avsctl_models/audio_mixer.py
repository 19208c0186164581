"""Sound as a gate on the channels of a map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avsctl_models.attention import Attention


class AudioMixer(nn.Module):
    """Scale every channel by what the sound finds in the map.

    Args:
        dim: Channels C.
        heads: Number of heads of the attention from the sound to the pixels.
    Source: AVSegFormer (AAAI 2024), its audio-visual mixer.
    """

    def __init__(self, dim: int, *, heads: int = 8):
        super().__init__()
        self.attention = Attention(dim, heads, bias=False)

    def forward(self, maps: Tensor, sound: Tensor) -> Tensor:
        """Mix maps (N, C, H, W) with the sound (N, C) of their frames: (N, C, H, W)."""
        pixels = maps.flatten(2).transpose(1, 2)  # (N, H*W, C)
        gate = torch.sigmoid(self.attention(sound[:, None], pixels, pixels))  # (N, 1, C)
        return maps * gate.transpose(1, 2)[..., None]
