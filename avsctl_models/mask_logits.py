"""Mask logits of queries: the product of their mask embeddings and the mask features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def mask_logits(embeddings: Tensor, features: Tensor) -> Tensor:
    """Multiply every query's mask embedding with the features of every pixel.

    The gradient of a set loss is zero but for the few matched queries; on a CPU only their part is computed.

    Args:
        embeddings: (N, Q, C). features: (N, C, h, w).
    Returns: (N, Q, h, w).
    Source: Mask2Former (CVPR 2022), its mask prediction.
    """
    if features.device.type != "cpu" or torch.compiler.is_compiling():
        return torch.einsum("nqc,nchw->nqhw", embeddings, features)
    return _MaskLogits.apply(embeddings, features.flatten(2)).unflatten(-1, features.shape[-2:])


class MaskPredictions(Sequence[tuple[Tensor, Tensor]]):
    """Predictions of several layers, (class_logits (N, Q, K+1), mask_logits (N, Q, h, w)) each.

    Masks are computed when they are read: only a loss looks at those of all layers.

    Args:
        layers: (class_logits, mask embeddings (N, Q, C)) of each.
        features: (N, C, h, w) mask features.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]], features: Tensor):
        self.layers = layers
        self.features = features

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: Any) -> Any:
        """One prediction, or of a slice a list of them."""
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        classes, embeddings = self.layers[index]
        return classes, mask_logits(embeddings, self.features)

    def select(self, indices: Tensor) -> MaskPredictions:
        """Those of some frames, by their numbers or a (N,) boolean mask."""
        layers = [(classes[indices], embeddings[indices]) for classes, embeddings in self.layers]
        return MaskPredictions(layers, self.features[indices])


class _MaskLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, features: Tensor) -> Tensor:
        ctx.save_for_backward(embeddings, features)
        return embeddings @ features  # (N, Q, h*w)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        embeddings, features = ctx.saved_tensors
        given = gradients[0]
        by_embeddings = torch.zeros_like(embeddings) if ctx.needs_input_grad[0] else None
        by_features = torch.empty_like(features) if ctx.needs_input_grad[1] else None
        for frame, used in enumerate(given.any(-1)):
            rows = given[frame, used]  # (q, h*w); NaN counts as used
            if by_embeddings is not None:
                by_embeddings[frame, used] = rows @ features[frame].T
            if by_features is not None:
                torch.mm(embeddings[frame, used].T, rows, out=by_features[frame])
        return by_embeddings, by_features
