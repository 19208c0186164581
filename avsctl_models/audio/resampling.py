"""Windowed-sinc resampling with resampy's `kaiser_best` filter, as a polyphase product in NumPy."""

from __future__ import annotations

from functools import lru_cache
from math import gcd

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

ZERO_CROSSINGS = 50
TABLE_STEPS = 8192  # table entries per zero crossing
KAISER_BETA = 12.984585247040012
ROLL_OFF = 0.9173473712608761
PHASES_AT_ONCE = 512  # bounds the memory of rates that share no small ratio, such as 44099 Hz


def resample(wave: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Resample one channel, equal to resampy 0.4's `kaiser_best` up to rounding.

    Args:
        wave: (samples,) float64.
        rate, new_rate: whole numbers of samples per second, above 0.
    Returns: (floor(samples * new_rate / rate),) float64; the wave itself if the rates are equal.
    Source: resampy 0.4.3; older versions (0.2) differ by up to 0.7 in a log-mel value.
    """
    if rate == new_rate:
        return wave
    divisor = gcd(rate, new_rate)
    up, down = new_rate // divisor, rate // divisor
    length = wave.shape[0] * new_rate // rate
    output = np.empty(length)
    # Output j sits at input time j * down / up, so outputs `up` apart share one filter. The original computes
    # the time in floating point: where that falls just below a whole sample (the 500th at 24928 Hz), its
    # filter is another.
    times = np.arange(length) * (1.0 / (new_rate / rate))
    starts = times.astype(np.int64)
    slipped = np.flatnonzero(starts != np.arange(length) * down // up)
    half = _half_width(new_rate / rate)
    padded = np.pad(wave, (half, half + 1))
    windows = sliding_window_view(padded, 2 * half + 1)
    for first in range(0, min(up, length), PHASES_AT_ONCE):
        phases = np.arange(first, min(first + PHASES_AT_ONCE, up, length))
        exact = (phases * down % up) / up
        for phase, kernel in zip(phases, _kernels(exact, new_rate / rate), strict=True):
            begin = phase * down // up
            count = len(range(phase, length, up))
            output[phase::up] = windows[begin : begin + (count - 1) * down + 1 : down] @ kernel
    for begin in range(0, slipped.size, PHASES_AT_ONCE):
        chosen = slipped[begin : begin + PHASES_AT_ONCE]
        kernels = _kernels(times[chosen] - starts[chosen], new_rate / rate)
        output[chosen] = np.einsum("jk,jk->j", windows[starts[chosen]], kernels)
    return output


def _half_width(ratio: float) -> int:
    step = int(min(1.0, ratio) * TABLE_STEPS)
    return (ZERO_CROSSINGS * TABLE_STEPS + 1) // step + 1


def _kernels(fractions: np.ndarray, ratio: float) -> np.ndarray:
    """Filters for outputs that lie `fractions` of a sample after an input sample.

    Returns: (len(fractions), 2 * half + 1), where column `half` weighs that input sample.
    """
    scale = min(1.0, ratio)
    half = _half_width(ratio)
    kernels = np.zeros((len(fractions), 2 * half + 1))
    left = _wing(scale * fractions, scale, half)
    right = _wing(scale - scale * fractions, scale, half)
    kernels[:, half - np.arange(half)] = left
    kernels[:, half + 1 + np.arange(half)] = right
    return kernels


def _wing(offsets: np.ndarray, scale: float, width: int) -> np.ndarray:
    """Read the table from each offset (in zero crossings) on, interpolating linearly: (offsets, width)."""
    table, slope = _table()
    step = int(scale * TABLE_STEPS)  # truncated, as in the original
    position = offsets * TABLE_STEPS
    start = position.astype(np.int64)
    index = start[:, None] + step * np.arange(width)
    inside = np.arange(width) < ((table.shape[0] - start) // step)[:, None]
    index = np.where(inside, index, 0)
    values = table[index] + (position - start)[:, None] * slope[index]
    return np.where(inside, scale * values, 0.0)


@lru_cache(maxsize=1)
def _table() -> tuple[np.ndarray, np.ndarray]:
    """The right half of the windowed sinc and its differences."""
    size = ZERO_CROSSINGS * TABLE_STEPS
    crossings = np.linspace(0, ZERO_CROSSINGS, num=size + 1)
    table = ROLL_OFF * np.sinc(ROLL_OFF * crossings) * np.kaiser(2 * size + 1, KAISER_BETA)[size:]
    return table, np.diff(table, append=table[-1])
