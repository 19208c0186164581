"""Computing in pieces that stay in a CPU's cache."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_ELEMENTS = 2**21  # of the widest inner tensor of a piece


def in_pieces(function: Callable[[Tensor], Tensor], tokens: Tensor, width: int) -> Tensor:
    """Apply a function that looks at every token alone, and keeps the shape.

    On a CPU it is applied to a few tokens at a time: memory of such a size is used again and again, where the system
    has to provide larger blocks anew each time.

    Args:
        function: From (n, C) to (n, C). tokens: (..., C). width: Channels of the widest inner tensor.
    Returns: (..., C).
    """
    flat = tokens.flatten(0, -2)
    parts = flat.split(max(1, _ELEMENTS // width)) if _pays(tokens) else (flat,)
    if len(parts) == 1:
        return function(flat).view_as(tokens)
    if torch.is_grad_enabled():
        return torch.cat([function(part) for part in parts]).view_as(tokens)
    made = torch.empty_like(flat)
    for part, result in zip(parts, made.split(len(parts[0])), strict=True):
        result.copy_(function(part))
    return made.view_as(tokens)


def frame_by_frame(function: Callable[..., Tensor], *maps: Tensor) -> Tensor:
    """Apply a function that looks at every frame alone; on a CPU to one after the other.

    Args:
        function: From maps (n, C, h, w), any number of them, to maps (n, ...).
        maps: (N, C, h, w) each.
    Returns: (N, ...).
    """
    if not _pays(maps[0]):
        return function(*maps)
    return torch.cat([function(*parts) for parts in zip(*(each.split(1) for each in maps), strict=True)])


def _pays(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()
