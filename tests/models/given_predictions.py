"""Predictions with chosen masks, for tests."""

from __future__ import annotations

import torch
from torch import Tensor

from avsctl_models.predictions import Predictions


def predictions_of(*layers: tuple[Tensor, Tensor]) -> Predictions:
    """Predictions of given (class_logits (N, Q, K+1), mask_logits (N, Q, h, w)) of each layer.

    All masks are the features, and every embedding takes one of them.
    """
    frames, queries = layers[0][1].shape[:2]
    choice = torch.eye(len(layers) * queries).expand(frames, -1, -1).split(queries, 1)
    pairs = zip(layers, choice, strict=True)
    return Predictions(
        [(classes, chosen.clone()) for (classes, _), chosen in pairs], torch.cat([masks for _, masks in layers], 1)
    )
