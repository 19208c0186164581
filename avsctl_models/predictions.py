"""What every layer of a query-based decoder predicts: classes, and masks that are computed when they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


class Predictions:
    """Classes and masks of N frames by Q queries, predicted L times; masks are products with the mask features.

    Only the last masks are needed for a result, and only the matched ones of all layers for a loss's gradient.

    Args:
        layers: (class_logits (N, Q, K+1), mask embeddings (N, Q, C)) of each prediction, first to last; the last class
            is "no object".
        features: (N, C, h, w) mask features.
    Source: Mask2Former (CVPR 2022), its mask prediction.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]], features: Tensor):
        self.layers = layers
        self.features = features

    def __len__(self) -> int:
        """Number of predictions L."""
        return len(self.layers)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Class and mask logits of all predictions, first to last."""
        return ((classes, self.masks(index)) for index, (classes, _) in enumerate(self.layers))

    def classes(self, index: int) -> Tensor:
        """Class logits (N, Q, K+1) of one prediction."""
        return self.layers[index][0]

    def masks(self, index: int) -> Tensor:
        """Mask logits (N, Q, h, w) of one prediction."""
        return torch.einsum("nqc,nchw->nqhw", self.layers[index][1], self.features)

    def chosen_masks(self, frames: Tensor, queries: Tensor) -> Tensor:
        """Mask logits of chosen queries.

        Args:
            frames, queries: (L, M) which of each prediction, as `assign` gives them: frames ascending, the same in all.
        Returns: (L, M, h, w).
        """
        layers = torch.arange(len(self), device=frames.device)[:, None]
        embeddings = torch.stack([made for _, made in self.layers])[layers, frames, queries]  # (L, M, C)
        counts = frames[0].bincount(minlength=len(self.features)).tolist()
        # One product for each frame, so that its features get one gradient.
        features = self.features.flatten(2).unbind()
        masks = [part @ feature for part, feature in zip(embeddings.split(counts, 1), features, strict=True)]
        return torch.cat(masks, 1).unflatten(-1, self.features.shape[-2:])

    def select(self, indices: Tensor) -> Predictions:
        """Those of some frames, by their numbers or a (N,) boolean mask."""
        return Predictions([(classes[indices], made[indices]) for classes, made in self.layers], self.features[indices])
