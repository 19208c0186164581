"""Scores of audio-visual segmentation: arrays in, named numbers out, whatever the batch size or order."""

from __future__ import annotations

from avsctl.metrics.accumulate import BinaryScores, SemanticScores
from avsctl.metrics.meanings import MEANINGS

__all__ = ["MEANINGS", "BinaryScores", "SemanticScores"]
