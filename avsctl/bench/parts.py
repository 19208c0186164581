"""Where the time of a training step goes: backbone, pixel decoder, decoder, matcher, loss."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

NETWORK = ("backbone", "pixel decoder", "decoder")
"""The parts of a network, in the order in which they compute."""


def shares(step: Callable[[], object], parts: Mapping[str, nn.Module], matcher: tuple[Any, str]) -> dict[str, float]:
    """Share of a training step's time that each part takes, forward and backward together.

    Forward times are those between a part's call and its return. Of the backward pass, what comes before the gradient
    of a part's last output is complete belongs to the parts behind it. "loss" takes what is neither in the network
    nor in the matcher.

    Args:
        step: forward, loss, and one call of `backward`.
        parts: modules by name, the names being `NETWORK`.
        matcher: (owner, name of its method) that finds which prediction is compared with which target.
    Returns: by part, with "matcher" and "loss", 1 in all.
    """
    clock = _Clock()
    with _watched(clock, parts, matcher):
        start = time.perf_counter()
        step()
        end = time.perf_counter()
    spent = dict(clock.spent)
    backward = spent.pop("backward")
    # Backward runs from the loss to the backbone: a part begins when the gradients of its outputs are there.
    middle = clock.begun["backward"]
    stop = middle + backward
    begins = {name: clock.reached.get(name, stop) for name in NETWORK}
    order = [("loss", middle), *((name, begins[name]) for name in reversed(NETWORK)), ("end", stop)]
    spent["loss"] = (end - start) - backward - sum(spent.values())
    for (name, begin), (_, following) in zip(order[:-1], order[1:], strict=True):
        spent[name] = spent.get(name, 0.0) + max(0.0, following - begin)
    return {name: spent.get(name, 0.0) / (end - start) for name in (*NETWORK, "matcher", "loss")}


class _Clock:
    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.reached: dict[str, float] = {}
        self.begun: dict[str, float] = {}

    def start(self, name: str) -> None:
        self.begun[name] = time.perf_counter()

    def stop(self, name: str) -> None:
        self.spent[name] += time.perf_counter() - self.begun[name]

    def watch(self, name: str, output: Any) -> None:
        """Note when the last gradient of a part's outputs is there."""
        for tensor in _tensors(output):
            if tensor.requires_grad:
                tensor.register_hook(lambda grad: self._reach(name))

    def _reach(self, name: str) -> None:
        self.reached[name] = time.perf_counter()


@contextmanager
def _watched(clock: _Clock, parts: Mapping[str, nn.Module], matcher: tuple[Any, str]) -> Iterator[None]:
    def leave(name: str, output: Any) -> None:
        clock.stop(name)
        clock.watch(name, output)

    handles = []
    for name, module in parts.items():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: clock.start(name)))
        handles.append(module.register_forward_hook(lambda *call, name=name: leave(name, call[-1])))
    try:
        with _timed(clock, "matcher", *matcher), _timed(clock, "backward", Tensor, "backward"):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _timed(clock: _Clock, name: str, owner: Any, method: str) -> AbstractContextManager:
    """Put a method that is timed in the place of one of `owner`, a class or an object."""
    plain = getattr(owner, method)

    def timed(*args: Any, **kwargs: Any) -> Any:
        clock.start(name)
        try:
            return plain(*args, **kwargs)
        finally:
            clock.stop(name)

    return patch.object(owner, method, timed)


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested containers."""
    if torch.is_tensor(value):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _tensors(inner)
    elif hasattr(value, "feature_maps"):
        yield from _tensors(value.feature_maps)
