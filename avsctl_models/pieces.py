"""Computing in pieces that stay in a CPU's cache."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_ELEMENTS = 2**21  # of the widest inner tensor of a piece


def in_pieces(function: Callable[[Tensor], Tensor], tokens: Tensor, width: int) -> Tensor:
    """Apply a function that looks at every token alone, and keeps the shape.

    Where nothing is kept for a gradient, and on a CPU, it is applied to a few tokens at a time.

    Args:
        tokens: (..., C). width: Channels of the widest inner tensor.
    Returns: (..., C), with no gradient if it was computed in pieces.
    """
    if tokens.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return function(tokens)
    made = torch.empty_like(tokens)
    pieces = max(1, _ELEMENTS // width)
    for part, result in zip(tokens.flatten(0, -2).split(pieces), made.flatten(0, -2).split(pieces), strict=True):
        result.copy_(function(part))
    return made
