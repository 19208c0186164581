"""The number format in which a network computes, its weights staying float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

PRECISIONS = ("fp32", "bf16", "fp16")
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)

T = TypeVar("T")
_Copies = dict[str, tuple[tuple[int, int], Tensor]]
_copies: WeakKeyDictionary[nn.Module, _Copies] = WeakKeyDictionary()


def in_format(model: nn.Module, precision: str, compute: Callable[[], T]) -> T:
    """Return `compute()`, in which the model's matrix products are of the given precision.

    Lower ones use autocast. A CPU's autocast converts weights in every product, which takes longer than it saves, so
    the weights are converted before: once where they don't change, else such that the originals get the gradients.

    Args:
        model: that `compute` calls, in this thread only.
        precision: of `PRECISIONS`.
    """
    if precision == "fp32":
        return compute()
    device, low = next(model.parameters()).device.type, _TYPES[precision]
    with torch.autocast(device, low):
        if device != "cpu" or torch.compiler.is_compiling():
            return compute()
        converted = {f"model.{name}": weight for name, weight in _converted(model, low).items()}
        return functional_call(_Computation(model, compute), converted, ())


class _Computation(nn.Module):
    """Something to compute with a model, as `functional_call` wants it."""

    def __init__(self, model: nn.Module, compute: Callable):
        super().__init__()
        self.model = model
        self.compute = compute

    def forward(self) -> object:
        return self.compute()


def _converted(model: nn.Module, low: torch.dtype) -> dict[str, Tensor]:
    """Weights in a lower precision by their names, but for those of norms, which compute in float32."""
    norms = [name for name, module in model.named_modules() if isinstance(module, _NORMS)]
    own = {f"{name}.{kind}" for name in norms for kind in ("weight", "bias")}
    kept = _copies.setdefault(model, {})
    learning = torch.is_grad_enabled()
    return {
        name: weight.to(low) if learning and weight.requires_grad else _copy(kept, name, weight, low)
        for name, weight in model.named_parameters()
        if name not in own
    }


def _copy(kept: _Copies, name: str, weight: Tensor, low: torch.dtype) -> Tensor:
    """The weight's converted copy, made anew when the weight has changed."""
    state = weight._version, weight.data_ptr()
    before, copied = kept.get(name, ((-1, 0), weight))
    if before != state or copied.dtype != low:
        with torch.inference_mode(False), torch.no_grad():
            copied = weight.to(low)
        kept[name] = state, copied
    return copied
