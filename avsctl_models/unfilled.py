"""Models built for the weights of a file: neither time nor memory goes into weights that it replaces."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

_SLACK = 2**27
"""Numbers that a model may have beyond those of the file it is filled from: heads of its own."""

M = TypeVar("M", bound=nn.Module)


def build_unfilled(build: Callable[[], M], held: int, source: str) -> M:
    """Build a model whose parameters are on the device `meta`; a state dict is to be assigned to it.

    What the state dict doesn't hold, such as tables of positions, is there.

    Args:
        build: makes the model; called twice.
        held: how many numbers the file has.
        source: Named in the error.
    Raises: ValueError: If the model is much larger than the file, or `build` raises it.
    """
    with torch.device("meta"), _NothingDrawn():  # whatever it describes, nothing is made
        wanted = sum(tensor.numel() for tensor in build().state_dict().values())
    if wanted > 2 * held + _SLACK:
        raise ValueError(f"{source} describes a model of {wanted:,} numbers, but holds {held:,}")
    with _parameters_on_meta(), _NothingDrawn():
        return build()


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    builder = threading.get_ident()

    def moved(module: nn.Module, name: str, parameter: nn.Parameter) -> nn.Parameter | None:
        if threading.get_ident() != builder:
            return None  # the hook is called in every thread
        return nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)

    hook = register_module_parameter_registration_hook(cast(Any, moved))  # its type says that it returns nothing
    try:
        yield
    finally:
        hook.remove()


class _NothingDrawn(TorchFunctionMode):
    """Leaves out what weights are drawn with: without values it changes nothing, but takes its time."""

    DRAWING = frozenset((Tensor.uniform_, Tensor.normal_, Tensor.erfinv_, Tensor.clamp_))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.DRAWING and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))
