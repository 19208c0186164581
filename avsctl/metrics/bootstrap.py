"""How sure a difference of two evaluations is: a paired bootstrap over the clips they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
BLOCK = 250
"""Resamples computed together: bounds the memory on large sets."""


@dataclass(frozen=True)
class ClipSums:
    """What each clip adds to a mean of per-class means, so that the mean can be taken again over any choice of clips.

    A mean over clips is the case of one class with a count of 1 in every clip.

    Args:
        clips: N keys (subset, uid).
        sums: (N, K) a score summed over the clip's frames that have the class. counts: (N, K) how many frames.
    """

    clips: tuple[tuple[str, str], ...]
    sums: np.ndarray
    counts: np.ndarray

    def mean(self, weights: np.ndarray) -> np.ndarray:
        """(R,) the mean over all K classes of each class's mean over frames, a class without frames counting 0.

        Args: weights: (R, N) how often each clip is drawn.
        """
        frames = weights @ self.counts
        return (weights @ self.sums / np.maximum(frames, 1)).mean(axis=1)


@dataclass(frozen=True)
class Interval:
    """A difference of two scores and the bootstrap's percentile interval around it."""

    difference: float
    low: float
    high: float


def paired_bootstrap(
    pairs: Sequence[tuple[ClipSums, ClipSums]],
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval:
    """Compare two methods on the same clips.

    Every resample draws as many clips as there are, with replacement, computes both scores of every pair on them and
    takes the mean difference over the pairs. The interval speaks of other clips, not of other trainings.

    Args:
        pairs: the two evaluations of each seed; all over the same clips in the same order.
        confidence: share of the resamples inside the interval.
    Raises: ValueError: If there is no pair or no clip, or if the clips differ.
    """
    if not pairs or not pairs[0][0].clips:
        raise ValueError("there is nothing to compare")
    clips = pairs[0][0].clips
    if any(one.clips != clips for pair in pairs for one in pair):
        raise ValueError("the evaluations to compare are of different clips")
    everything = np.ones((1, len(clips)))
    observed = np.mean([first.mean(everything) - second.mean(everything) for first, second in pairs])
    rng = np.random.default_rng(seed)
    drawn = []
    for start in range(0, resamples, BLOCK):
        chances = np.full(len(clips), 1 / len(clips))
        weights = rng.multinomial(len(clips), chances, size=min(BLOCK, resamples - start)).astype(np.float64)
        drawn.append(np.mean([first.mean(weights) - second.mean(weights) for first, second in pairs], axis=0))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return Interval(float(observed), float(low), float(high))
