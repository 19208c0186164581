"""An embedding without weights: 128 numbers per second, read off the log-mel spectrogram itself."""

from __future__ import annotations

import numpy as np

from avsctl_models.audio.frontend import BANDS

DIM = 2 * BANDS
FRAMES_PER_SECOND = 100
WHOLE_SECOND = 98  # frames that lie wholly inside one second; the next two would hear the second after it
LEVEL_SCALE = float(np.log(100.0))  # silence, ln 0.01, becomes -1
SPREAD_SCALE = 2.0


def summarise(spectrogram: np.ndarray) -> np.ndarray:
    """Sum up stretches of log-mel frames as 128 numbers each.

    Numbers 0..63 are each band's mean level over ln 100: -1 in silence, 0 where the magnitude is 1, near 1 at
    full scale. Numbers 64..127 are each band's standard deviation over time, divided by 2: 0 for a steady
    sound, around 0.5 for speech and barks. Fixed constants; nothing is fitted to a dataset.

    Args:
        spectrogram: (..., frames, 64) natural-logarithm mel magnitudes with offset 0.01, frames >= 1.
    Returns: (..., 128) float32.
    """
    level = spectrogram.mean(axis=-2) / LEVEL_SCALE
    spread = spectrogram.std(axis=-2) / SPREAD_SCALE
    return np.concatenate([level, spread], axis=-1).astype(np.float32)


def seconds(spectrogram: np.ndarray) -> np.ndarray:
    """Embed each second [i, i + 1) of a log-mel spectrogram from the frames that lie wholly inside it.

    Args:
        spectrogram: (frames, 64), 100 frames a second.
    Returns: (seconds, 128) float32; a last second of which less than half is there is left out.
    """
    starts = range(0, spectrogram.shape[0] - WHOLE_SECOND // 2 + 1, FRAMES_PER_SECOND)
    rows = [summarise(spectrogram[start : start + WHOLE_SECOND]) for start in starts]
    return np.stack(rows) if rows else np.empty((0, DIM), np.float32)
