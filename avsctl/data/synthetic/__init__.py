"""A drawn dataset in AVSBench-semantic's layout, made on the spot."""

from __future__ import annotations

from .generate import DEFAULT_COUNTS, generate, scaled_counts
from .scenes import NAMES

__all__ = ["DEFAULT_COUNTS", "NAMES", "generate", "scaled_counts"]
