"""From decided masks to scores, clip by clip."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor

from avsctl.data.samples import Batch
from avsctl.distributed import pooled, world_size
from avsctl.metrics import BinaryScores, SemanticScores

Scores = TypeVar("Scores", bound=BinaryScores | SemanticScores)

CLIPS_IN_TURN = 64
"""Clips whose scores a process sends together: 260 KB."""


def of_all_processes(own: Scores) -> Scores:
    """The scores of all processes' clips, in every process: as if one had scored them all, to the last bit."""
    if world_size() == 1:
        return own
    scores: Any = own.like()
    for part in pooled(own.split(CLIPS_IN_TURN)):
        scores.merge(part)
    return scores


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
    for offset, (uid, subset, part) in enumerate(zip(batch.uids, batch.subsets, batch.clips(), strict=True)):
        keep = batch.labelled[part]
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
