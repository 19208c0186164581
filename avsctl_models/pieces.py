"""Computing in pieces that stay in a CPU's cache."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_ELEMENTS = 2**21  # of the largest inner tensor of a piece


def in_pieces(function: Callable[..., Tensor], *tensors: Tensor, each: int) -> Tensor:
    """Apply a function that looks at every row of its tensors alone.

    On a CPU it is applied to a few rows at a time: memory of such a size is used again and again, where the system
    has to provide larger blocks anew each time.

    Args:
        function: From tensors (n, ...) to one (n, ...).
        tensors: (N, ...), at least one.
        each: Elements per row of the largest tensor that the function makes.
    Returns: (N, ...).
    """
    count = len(tensors[0])
    pieces = -(-count * each // _ELEMENTS)
    if pieces < 2 or tensors[0].device.type != "cpu" or torch.compiler.is_compiling():
        return function(*tensors)
    parts = zip(*(tensor.split(-(-count // pieces)) for tensor in tensors), strict=True)
    if torch.is_grad_enabled():
        return torch.cat([function(*part) for part in parts])
    made, done = tensors[0].new_empty(0), 0
    for part in parts:
        result = function(*part)
        if not done:
            made = result.new_empty(count, *result.shape[1:])
        made[done : done + len(result)] = result
        done += len(result)
    return made
