"""From decided masks to scores, clip by clip."""

from __future__ import annotations

from torch import Tensor

from avsctl.data.samples import Batch
from avsctl.metrics import BinaryScores, SemanticScores


def groups(count: int, size: int) -> list[list[int]]:
    """Numbers 0 to count in order, `size` at a time."""
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)]


def add_clips(
    scores: BinaryScores | SemanticScores,
    batch: Batch,
    decided: Tensor,
    *,
    first: int,
    probability: Tensor | None = None,
) -> None:
    """Score the labelled frames of every clip of a batch.

    Args:
        decided: (N, h, w) class indices. probability: (N, h, w) that a pixel sounds, for the F-score.
        first: place of the batch's first clip in the dataset.
    """
    start = 0
    for offset, (uid, subset, length) in enumerate(zip(batch.uids, batch.subsets, batch.lengths, strict=True)):
        part = slice(start, start + length)
        keep = batch.labelled[part]
        start += length
        if not keep.any():
            continue
        scores.add(
            uid,
            subset,
            decided[part][keep].numpy(),
            batch.labels[part][keep].numpy(),
            scores=None if probability is None else probability[part][keep].numpy(),
            position=first + offset,
        )
