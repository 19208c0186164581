"""Bottleneck adapters and the three ways in which the published models attach them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ADAPTER_MODES = ("none", "replace", "follow")


class Adapter(nn.Module):
    """Bottleneck of two linear layers with a ReLU between them, a quarter as wide as its input.

    Source: Houlsby et al., ICML 2019, without their residual connection: whoever holds the adapter decides.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.down = nn.Linear(dim, dim // 4)
        self.up = nn.Linear(dim // 4, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(torch.relu(self.down(x)))

    def adds_nothing(self) -> bool:
        """Whether this is a residual adapter's zero that learns nothing, as in phase 1; not looked up on a GPU."""
        last = self.up.weight
        if last.device.type != "cpu" or (last.requires_grad and torch.is_grad_enabled()):
            return False
        return not (self.up.bias.any() or last.any())  # trained ones tell soonest by their bias

    def zero(self) -> None:
        """Set all weights and biases to zero, so that a residual adapter leaves its input as it is."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def reset(self, *, std: float | None = 0.02) -> None:
        """Draw new weights from N(0, std), or Xavier uniform for `std=None`, with biases of zero."""
        for linear in (self.down, self.up):
            nn.init.zeros_(linear.bias)
            if std is None:
                nn.init.xavier_uniform_(linear.weight)
            else:
                nn.init.normal_(linear.weight, std=std)


class AdaptedProjection(nn.Module):
    """An adapter on the output of a projection, or in the projection's place if that is None.

    Args:
        projection: Layer giving (..., dim), or None to adapt the input itself.
        dim: Number of channels.
        residual: Whether the adapter's output is added to its input instead of taking its place.
    """

    def __init__(self, projection: nn.Module | None, dim: int, *, residual: bool = False):
        super().__init__()
        self.projection = projection
        self.adapter = Adapter(dim)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        if self.projection is not None:
            x = self.projection(x)
        if self.residual and self.adapter.adds_nothing():
            return x
        adapted = self.adapter(x)
        return x + adapted if self.residual else adapted


def output_projection(dim: int, adapters: str, *, std: float | None, bias: bool = True) -> nn.Module:
    """Build the output projection of an attention layer.

    Args:
        dim: Channels in and out.
        adapters: "none" for a plain linear layer; "replace" for an adapter in its place (released stage 1);
            "follow" for an adapter after it (released stage 2).
        std: Initial spread of the adapter's weights, None for Xavier uniform.
        bias: Whether a plain linear layer has one.
    Raises: ValueError: If `adapters` is none of the three.
    """
    if adapters not in ADAPTER_MODES:
        raise ValueError(f"adapters must be one of {', '.join(ADAPTER_MODES)}, not {adapters!r}")
    if adapters == "none":
        return xavier_linear(dim, dim, bias=bias)
    projection = xavier_linear(dim, dim) if adapters == "follow" else None
    adapted = AdaptedProjection(projection, dim)
    adapted.adapter.reset(std=std)
    return adapted


def xavier_linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """Linear layer with Xavier-uniform weights and, if it has one, a bias of zero."""
    linear = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
