"""Sine position code of a feature map."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sine_positions(
    height: int, width: int, channels: int, *, normalized: bool = True, device: torch.device | str | None = None
) -> Tensor:
    """Encode the rows and columns of a map as sines and cosines of geometrically spaced wavelengths.

    Args:
        height, width: Size of the map.
        channels: Number of channels C, a multiple of 4; the first half encodes rows, the second columns.
        normalized: Whether an axis is one turn of the longest wave, whatever its size; otherwise positions count
            as 1, 2, 3, …
    Returns: (1, C, height, width) float32.
    Raises: ValueError: If `channels` is no multiple of 4.
    Source: DETR (ECCV 2020); Mask2Former normalises, AVSegFormer does not.
    """
    if channels % 4:
        raise ValueError(f"A position code needs a multiple of 4 channels, not {channels}")
    half = channels // 2
    index = torch.arange(half, device=device, dtype=torch.float32)
    period = 10000 ** (2 * torch.div(index, 2, rounding_mode="floor") / half)
    rows = _axis_code(height, period, normalized)[:, :, None].expand(-1, -1, width)  # (C/2, h, w)
    columns = _axis_code(width, period, normalized)[:, None, :].expand(-1, height, -1)
    return torch.cat([rows, columns]).unsqueeze(0)


def _axis_code(size: int, period: Tensor, normalized: bool) -> Tensor:
    angles = torch.arange(1, size + 1, device=period.device, dtype=torch.float32)
    if normalized:
        angles = angles * (2 * math.pi) / (size + 1e-6)
    phase = angles[None, :] / period[:, None]  # (C/2, size)
    even = torch.arange(len(period), device=period.device) % 2 == 0
    return torch.where(even[:, None], phase.sin(), phase.cos())
