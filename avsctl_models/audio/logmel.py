"""An embedding without weights: 128 numbers per second, read off the log-mel spectrogram itself."""

from __future__ import annotations

import numpy as np

from avsctl_models.audio.frontend import BANDS

GROUPS = 16  # neighbouring bands in fours, for what happens over time
LAGS = (2, 5, 12)  # frames: 20, 50 and 120 ms
DIM = BANDS + GROUPS * (1 + len(LAGS))
FRAMES_PER_SECOND = 100
WHOLE_SECOND = 98  # frames that lie wholly inside one second; the next two would hear the second after it
LEVEL_SCALE = float(np.log(100.0))  # silence, ln 0.01, becomes -1
SPREAD_SCALE = 2.0
VARIANCE_FLOOR = 0.05  # keeps the correlation of a steady or silent band near 0


def summarise(spectrogram: np.ndarray) -> np.ndarray:
    """Sum up stretches of log-mel frames as 128 numbers each: the spectrum, and how it moves.

    - 0..63: each band's mean level over ln 100: -1 in silence, 0 at magnitude 1, near 1 at full scale.
    - 64..79: the standard deviation over time of 16 groups of four bands, halved: 0 for a steady sound, about
      0.5 for speech and barks.
    - 80..127: the groups' autocorrelation over time at 20, 50 and 120 ms (16 numbers each), within [-1, 1]:
      high for slow swells, low or negative for rattling and fluttering, 0 for steady sounds and silence.

    All constants are fixed; nothing is fitted to a dataset. In mixtures of real sounds the autocorrelation
    tells sources apart better than more detail in the spread does.

    Args:
        spectrogram: (..., frames, 64) natural-logarithm mel magnitudes with offset 0.01, at least 13 frames.
    Returns: (..., 128) float32.
    Raises: ValueError: If there are too few frames or not 64 bands.
    """
    if spectrogram.shape[-1] != BANDS or spectrogram.shape[-2] <= LAGS[-1]:
        raise ValueError(f"log-mel of shape {spectrogram.shape}: expected {LAGS[-1] + 1} frames of {BANDS}")
    level = spectrogram.mean(axis=-2) / LEVEL_SCALE
    groups = spectrogram.reshape(*spectrogram.shape[:-1], GROUPS, -1).mean(axis=-1)  # (..., frames, 16)
    moving = groups - groups.mean(axis=-2, keepdims=True)
    variance = (moving**2).mean(axis=-2)
    parts = [level, np.sqrt(variance) / SPREAD_SCALE]
    for lag in LAGS:
        product = (moving[..., lag:, :] * moving[..., :-lag, :]).mean(axis=-2)
        parts.append(np.clip(product / (variance + VARIANCE_FLOOR), -1.0, 1.0))
    return np.concatenate(parts, axis=-1).astype(np.float32)


def seconds(spectrogram: np.ndarray) -> np.ndarray:
    """Embed each second [i, i + 1) of a log-mel spectrogram from the frames that lie wholly inside it.

    Args:
        spectrogram: (frames, 64), 100 frames a second.
    Returns: (seconds, 128) float32; a last second of which less than half is there is left out.
    """
    starts = range(0, spectrogram.shape[0] - WHOLE_SECOND // 2 + 1, FRAMES_PER_SECOND)
    rows = [summarise(spectrogram[start : start + WHOLE_SECOND]) for start in starts]
    return np.stack(rows) if rows else np.empty((0, DIM), np.float32)
