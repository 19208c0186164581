"""Attention over all pixels of a few neighbouring frames, in time linear in their number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def window_means(lengths: Sequence[int], window: int, *, like: Tensor) -> Tensor:
    """Make the matrix that averages over the frames of a frame's window.

    Clips are cut into windows from their first frame on; the last may be shorter. Frames that a shorter window
    lacks count for nothing, so they need no padding.

    Args:
        lengths: Frames of each clip, N in all.
        window: Most frames of a window.
        like: Gives type and device.
    Returns: (N, N), row t holds 1 / n at the n frames of t's window.
    """
    sizes = [min(window, length - start) for length in lengths for start in range(0, length, window)]
    return torch.block_diag(*(like.new_full((size, size), 1 / size) for size in sizes))


class TemporalAttention(nn.Module):
    """TPAVI: every pixel of a window looks for the sound, or for all other pixels, by a dot product.

    The published attention Y = (theta^T phi / P) g over P pixels has no softmax, so that it equals theta^T times
    (phi g^T / P), a matrix of C/2 x C/2 however many pixels there are.

    Args:
        dim: Channels C of the map.
        audio_dim: Width of the audio embeddings; None for attention among pixels alone.
        audio_bias: Whether the audio's projection has a bias.
    Source: AVSBench (ECCV 2022), Eq. 2; norms and initial zeros as released.
    """

    def __init__(self, dim: int, audio_dim: int | None, *, audio_bias: bool = True):
        super().__init__()
        half = dim // 2
        self.audio = None if audio_dim is None else nn.Linear(audio_dim, dim, bias=audio_bias)
        self.query = nn.Conv2d(dim, half, 1)
        self.key = nn.Conv2d(dim, half, 1)
        self.value = nn.Conv2d(dim, half, 1)
        self.output = nn.Conv2d(half, dim, 1)
        self.output_norm = nn.BatchNorm2d(dim)
        self.norm = nn.LayerNorm(dim)
        nn.init.zeros_(self.output_norm.weight)
        nn.init.zeros_(self.output_norm.bias)

    def forward(self, maps: Tensor, means: Tensor, sound: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            maps: (N, C, H, W).
            means: (N, N) of `window_means`.
            sound: (N, C) of `audio`, to be looked for; None has pixels look for each other.
        Returns: (N, C, H, W).
        """
        query = self.query(maps).flatten(2)  # (N, C/2, H*W)
        value = self.value(maps).flatten(2)
        if sound is None:
            products = self.key(maps).flatten(2) @ value.transpose(1, 2)  # (N, C/2, C/2)
        else:
            # The key is the same at all pixels of a frame.
            key = self.key(sound[:, :, None, None])[..., 0]  # (N, C/2, 1)
            products = key @ value.sum(2)[:, None]
        shared = (means.to(products.dtype) @ products.flatten(1)).view_as(products) / query.shape[2]
        found = shared.transpose(1, 2) @ query  # (N, C/2, H*W)
        attended = self.output_norm(self.output(found.unflatten(2, maps.shape[-2:])))
        return self.norm((maps + attended).movedim(1, -1)).movedim(-1, 1)
