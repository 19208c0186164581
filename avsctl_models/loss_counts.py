"""What losses are divided by, so that the parts of a batch can be learnt from one after the other, or side by side."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LossCounts:
    """Counts of a batch of frames; those of its parts add up to those of the whole.

    Attributes:
        frames: all of them.
        labelled: those with a label.
        targets: masks to find, one for each class present in a labelled frame; 0 for models without queries.
        matched: targets that get a query, of which a frame may have too few.
    """

    frames: int = 0
    labelled: int = 0
    targets: int = 0
    matched: int = 0

    def __add__(self, other: LossCounts) -> LossCounts:
        return LossCounts(
            self.frames + other.frames,
            self.labelled + other.labelled,
            self.targets + other.targets,
            self.matched + other.matched,
        )
