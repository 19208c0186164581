"""VGGish's log-mel front end, from a wave of any sample rate to examples of 96 frames."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from avsctl_models.audio.resampling import resample

RATE = 16000
RATES = (1000, 768000)  # Hz; what lies outside is a damaged header, and would ask for endless memory
WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
FFT = 512
BANDS = 64
MEL_RANGE = (125.0, 7500.0)  # Hz
EXAMPLE = 96  # frames of one example
VGGISH_OFFSET = 0.01
YAMNET_OFFSET = 0.001


def mono_16k(wave: np.ndarray, rate: int) -> np.ndarray:
    """Check a wave, scale it to [-1, 1], average its channels and resample it to 16 kHz.

    Args:
        wave: (samples,) or (samples, channels); floats in [-1, 1], or signed integers of full range
            (int16 is divided by 32768). The released pipelines read every file as int16.
        rate: samples per second, a whole number from 1000 to 768000.
    Returns: (samples,) float64; a wave too short for one sample at 16 kHz gives none.
    Raises: ValueError: If the wave is empty, holds NaN or infinity, has another shape or type, or the rate is
        outside its range.
    """
    wave = np.asarray(wave)
    if not RATES[0] <= rate <= RATES[1] or rate % 1:
        raise ValueError(f"sample rate {rate}: expected a whole number from {RATES[0]} to {RATES[1]}")
    if wave.ndim not in (1, 2) or wave.size == 0:
        raise ValueError(f"wave of shape {wave.shape}: expected (samples,) or (samples, channels), not empty")
    if wave.ndim == 2 and wave.shape[1] > wave.shape[0]:
        raise ValueError(f"wave of shape {wave.shape} has more channels than samples: is it transposed?")
    if wave.dtype.kind == "i":
        wave = wave / -float(np.iinfo(wave.dtype).min)
    elif wave.dtype.kind != "f":
        raise ValueError(f"wave of type {wave.dtype}: expected floats in [-1, 1] or signed integers")
    wave = wave.astype(np.float64, copy=False)
    if not np.isfinite(wave).all():
        raise ValueError("the wave holds NaN or infinite samples")
    if wave.ndim == 2:
        wave = wave.mean(axis=1)
    return resample(wave, int(rate), RATE)


def log_mel(wave: np.ndarray, rate: int, offset: float = VGGISH_OFFSET) -> np.ndarray:
    """Compute the log-mel spectrogram of a wave as VGGish does.

    Args:
        wave, rate: as for `mono_16k`.
        offset: added to the mel magnitude before the logarithm; 0.01 for VGGish, 0.001 for YAMNet.
    Returns: (frames, 64) float64, one frame per 10 ms with no padding, frames = 1 + (N - 400) // 160 for N
        samples at 16 kHz (none below 400). Silence is ln(offset), about -4.605 for VGGish.
    Raises: ValueError: As `mono_16k`.
    """
    wave = mono_16k(wave, rate)
    if wave.shape[0] < WINDOW:
        return np.empty((0, BANDS))
    frames = sliding_window_view(wave, WINDOW)[::HOP]
    magnitude = np.abs(np.fft.rfft(frames * hann_window(), FFT))  # (frames, 257)
    return np.log(magnitude @ mel_matrix() + offset)


def examples(spectrogram: np.ndarray, hop: int = EXAMPLE) -> np.ndarray:
    """Cut a log-mel spectrogram into examples of 96 frames (0.96 s).

    Args:
        spectrogram: (frames, 64), as `log_mel` returns.
        hop: frames from one example to the next; 96 for VGGish, 48 for YAMNet.
    Returns: (k, 96, 64) float32 with k = 1 + (frames - 96) // hop, or 0 below 96 frames: what is left over at
        the end makes no example.
    Raises: ValueError: If the spectrogram is not (frames, 64) or the hop is below 1.
    """
    if spectrogram.ndim != 2 or spectrogram.shape[1] != BANDS:
        raise ValueError(f"spectrogram of shape {spectrogram.shape}: expected (frames, {BANDS})")
    if hop < 1:
        raise ValueError(f"hop of {hop} frames: expected 1 or more")
    if spectrogram.shape[0] < EXAMPLE:
        return np.empty((0, EXAMPLE, BANDS), np.float32)
    cut = sliding_window_view(spectrogram, EXAMPLE, axis=0)[::hop]  # (k, 64, 96)
    return np.ascontiguousarray(cut.transpose(0, 2, 1), dtype=np.float32)


@lru_cache(maxsize=1)
def hann_window() -> np.ndarray:
    """The periodic Hann window: (400,) float64."""
    return 0.5 - 0.5 * np.cos(2 * np.pi / WINDOW * np.arange(WINDOW))


@lru_cache(maxsize=1)
def mel_matrix() -> np.ndarray:
    """Triangles of height 1, linear in HTK mel, between 125 and 7500 Hz: (257, 64) float64, DC left out."""
    bins = _mel(np.linspace(0.0, RATE / 2, FFT // 2 + 1))
    lowest, highest = _mel(np.array(MEL_RANGE))
    edges = np.linspace(lowest, highest, BANDS + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - lower) / (centre - lower)
    falling = (upper - bins[:, None]) / (upper - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0
    return weights


def _mel(hertz: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log(1.0 + hertz / 700.0)
