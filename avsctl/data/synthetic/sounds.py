"""One synthesised voice per drawn class: its own pitch region, spectrum and envelope, varied per clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Numbers = Sequence[float] | np.ndarray

SAMPLE_RATE = 16000
FADE = round(0.02 * SAMPLE_RATE)  # samples in which a source starts and stops
LOUDNESS_DB = (-22.0, -17.0)  # RMS of a source while it sounds, against full scale
PEAK = 0.6  # short clicks reach this before they reach their loudness
TABLE = 2048

Voice = Callable[[np.random.Generator, int], np.ndarray]
"""Performs for n samples without a pause longer than about a third of a second; level is set later."""


def _seconds(n: int) -> np.ndarray:
    return np.arange(n) / SAMPLE_RATE


def _tone(frequency: np.ndarray, partials: Numbers) -> np.ndarray:
    """A harmonic tone: frequency in Hz for each sample, strengths of the harmonics 1, 2, ..."""
    phase = np.linspace(0, 2 * np.pi, TABLE, endpoint=False)
    table = sum(strength * np.sin(k * phase) for k, strength in enumerate(partials, start=1))
    position = np.cumsum(frequency) * (TABLE / SAMPLE_RATE)
    return np.asarray(table)[position.astype(np.int64) % TABLE]


def _noise(rng: np.random.Generator, n: int, low: float, high: float) -> np.ndarray:
    """Noise between two frequencies in Hz, with soft edges and unit RMS."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequency = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    spectrum *= 1 / (1 + (frequency / high) ** 8) / (1 + (low / (frequency + 1e-9)) ** 8)
    wave = np.fft.irfft(spectrum, n)
    return wave / max(1e-12, float(np.sqrt(np.mean(wave**2))))


def _struck(n: int, frequencies: Numbers, strengths: Numbers, decays: Numbers) -> np.ndarray:
    """Sines that all start at once and die away, each in its own time (seconds to 1/e)."""
    t = _seconds(n)
    attack = np.minimum(1.0, t / 0.002)
    parts = zip(frequencies, strengths, decays, strict=True)
    return attack * sum(a * np.sin(2 * np.pi * f * t) * np.exp(-t / d) for f, a, d in parts)


def _repeat(rng: np.random.Generator, n: int, rate: float, events: Sequence[np.ndarray], sway: float) -> np.ndarray:
    """Place events, `rate` a second, each time any one of them; `sway` (part of a beat) loosens the time."""
    out = np.zeros(n + max(len(event) for event in events))
    beat = SAMPLE_RATE / rate
    start = float(rng.uniform(0, 0.3)) * beat
    while start < n:
        event = events[int(rng.integers(len(events)))]
        at = int(start)
        out[at : at + len(event)] += event * rng.uniform(0.75, 1.0)
        start += beat * (1 + rng.uniform(-sway, sway))
    return out[:n]


def _bell(rng: np.random.Generator, n: int) -> np.ndarray:
    pitch = rng.uniform(1750, 1950)
    ratios = np.array([1.0, 1.19, 1.51, 2.0, 2.74, 3.3])
    ring = _struck(
        int(1.5 * SAMPLE_RATE), pitch * ratios, (1, 0.8, 0.8, 0.7, 0.6, 0.4), (0.4, 0.4, 0.35, 0.3, 0.25, 0.2)
    )
    return _repeat(rng, n, rng.uniform(2.8, 3.6), [ring], 0.08)


def _bird(rng: np.random.Generator, n: int) -> np.ndarray:
    centre, chirps = rng.uniform(3000, 4200), []
    for _ in range(4):
        length = int(rng.uniform(0.06, 0.1) * SAMPLE_RATE)
        sweep = centre * np.linspace(rng.uniform(0.8, 0.95), rng.uniform(1.05, 1.25), length)
        chirps.append(_tone(sweep[:: int(rng.choice([-1, 1]))], (1.0,)) * np.hanning(length))
    return _repeat(rng, n, rng.uniform(7.0, 9.5), chirps, 0.25)


def _boat(rng: np.random.Generator, n: int) -> np.ndarray:
    pitch = rng.uniform(135, 175)
    partials = 1 / np.arange(1, 15) ** 0.7
    first, second = (_tone(np.full(n, pitch * detune), partials) for detune in (1.0, 1.006))
    return (first + second) * (1 + 0.15 * np.sin(2 * np.pi * rng.uniform(0.6, 1.2) * _seconds(n)))


def _car(rng: np.random.Generator, n: int) -> np.ndarray:
    idle, revs = rng.uniform(74, 92), rng.uniform(0.4, 0.8)
    speed = idle * (1 + 0.12 * np.sin(2 * np.pi * (revs * _seconds(n) + rng.uniform())))
    engine = _tone(speed, (0.6, 1.0, 0.9, 0.7, 0.4, 0.2))
    return engine + 0.5 * _noise(rng, n, 90, 420)


def _cat(rng: np.random.Generator, n: int) -> np.ndarray:
    pitch, meows = rng.uniform(520, 640), []
    for _ in range(3):
        length = int(rng.uniform(0.62, 0.75) * SAMPLE_RATE)
        at = np.linspace(0, 1, length)
        glide = pitch * (1 + 0.35 * np.sin(np.pi * at**0.7)) * rng.uniform(0.94, 1.06)
        meows.append(_tone(glide, (0.5, 1.0, 0.8, 0.5, 0.25)) * np.sin(np.pi * at) ** 0.4)
    return _repeat(rng, n, rng.uniform(1.35, 1.5), meows, 0.05)


def _clock(rng: np.random.Generator, n: int) -> np.ndarray:
    pitch, length = rng.uniform(6000, 6600), int(0.05 * SAMPLE_RATE)
    ticks = [_struck(length, (pitch * tilt, pitch * tilt * 1.13), (1, 0.8), (0.012, 0.01)) for tilt in (1.0, 0.88)]
    return _repeat(rng, n, rng.uniform(5.0, 7.0), ticks, 0.02)


def _dog(rng: np.random.Generator, n: int) -> np.ndarray:
    pitch, barks = rng.uniform(420, 520), []
    for _ in range(3):
        length = int(rng.uniform(0.14, 0.19) * SAMPLE_RATE)
        at = np.linspace(0, 1, length)
        yelp = _tone(pitch * (1.15 - 0.5 * at), (0.6, 1.0, 0.9, 0.6, 0.4, 0.2)) + 0.8 * _noise(rng, length, 900, 2600)
        barks.append(yelp * np.minimum(1, at / 0.08) * (1 - at) ** 0.7)
    return _repeat(rng, n, rng.uniform(3.4, 4.4), barks, 0.15)


def _drum(rng: np.random.Generator, n: int) -> np.ndarray:
    length, deep = int(0.2 * SAMPLE_RATE), rng.uniform(75, 110)
    t = _seconds(length)
    skin = np.sin(2 * np.pi * (deep * t + deep * 0.03 * (1 - np.exp(-t / 0.03)))) * np.exp(-t / 0.07)
    snare = _noise(rng, length, 1200, 5000) * np.exp(-t / 0.035)
    hits = [skin + 0.15 * snare, 0.35 * skin + 0.6 * snare]
    return _repeat(rng, n, rng.uniform(4.5, 6.5), hits, 0.04)


def _guitar(rng: np.random.Generator, n: int) -> np.ndarray:
    root, k = rng.uniform(165, 220), np.arange(1, 13)
    plucks = []
    for step in (0, 4, 7, 12):
        pitch = root * 2 ** (step / 12)
        plucks.append(_struck(int(0.7 * SAMPLE_RATE), pitch * k, 1 / k**0.8, 0.4 / (1 + 0.25 * k)))
    return _repeat(rng, n, rng.uniform(4.0, 5.2), plucks, 0.05)


def _helicopter(rng: np.random.Generator, n: int) -> np.ndarray:
    rate = rng.uniform(13, 18)
    beat = (0.5 + 0.5 * np.cos(2 * np.pi * (rate * _seconds(n) + rng.uniform()))) ** 2.5
    return _noise(rng, n, 120, 900) * (0.08 + beat)


def _piano(rng: np.random.Generator, n: int) -> np.ndarray:
    root, notes = rng.uniform(520, 660), []
    for step in (0, 2, 4, 7, 9):
        pitch = root * 2 ** (step / 12)
        notes.append(_struck(SAMPLE_RATE, (pitch, 2 * pitch, 3 * pitch), (1.0, 0.3, 0.08), (0.45, 0.3, 0.2)))
    return _repeat(rng, n, rng.uniform(3.2, 4.2), notes, 0.04)


def _train(rng: np.random.Generator, n: int) -> np.ndarray:
    pitch = rng.uniform(820, 960)
    tremble = 1 + 0.008 * np.sin(2 * np.pi * rng.uniform(5, 7) * _seconds(n))
    whistle = sum(_tone(pitch * ratio * tremble, (1.0, 0.25)) for ratio in (1.0, 1.26, 1.5))
    return whistle + 0.4 * _noise(rng, n, 2200, 5000)


VOICES: dict[str, Voice] = {
    "bell": _bell, "bird": _bird, "boat": _boat, "car": _car, "cat": _cat, "clock": _clock, "dog": _dog,
    "drum": _drum, "guitar": _guitar, "helicopter": _helicopter, "piano": _piano, "train": _train,
}  # fmt: skip
"""How each class sounds: strokes of a bell, chirps, a fog horn, an engine, mewing, ticks, barks, beats,
plucked strings, rotor blades, notes, a steam whistle."""


def perform(name: str, rng: np.random.Generator, active: Sequence[bool] | np.ndarray) -> np.ndarray:
    """Let one class sound in the seconds in which it is active, and not at all in the others.

    Args:
        name: a key of `VOICES`.
        rng: varies pitch, rate and level.
        active: one flag per second.
    Returns: (16000 * len(active),) float64 in [-1, 1], 16 kHz; it fades in and out within 20 ms, inside its
        seconds.
    """
    flags = np.asarray(active, dtype=bool)
    wave = VOICES[name](rng, len(flags) * SAMPLE_RATE)
    loudness = 10 ** (rng.uniform(*LOUDNESS_DB) / 20)
    rms = float(np.sqrt(np.mean(wave**2)))
    gain = min(loudness / rms, PEAK / float(np.abs(wave).max()))
    return gain * wave * _gate(flags)


def room_noise(rng: np.random.Generator, seconds: int) -> np.ndarray:
    """Faint broad noise, louder towards low frequencies, at -60 to -50 dB; (16000 * seconds,) float64."""
    n = seconds * SAMPLE_RATE
    wave = 0.8 * _noise(rng, n, 30, 700) + 0.6 * _noise(rng, n, 30, 7000)
    return wave * 10 ** (rng.uniform(-60, -50) / 20)


def _gate(active: np.ndarray) -> np.ndarray:
    """1 in active seconds, 0 in others; ramps where a source starts or stops lie in the active ones."""
    gate = np.repeat(active.astype(float), SAMPLE_RATE)
    ramp = np.linspace(0, 1, FADE)
    edges = np.diff(np.concatenate([[0], active.astype(int), [0]]))
    for second in np.flatnonzero(edges == 1):
        gate[second * SAMPLE_RATE :][:FADE] *= ramp
    for second in np.flatnonzero(edges == -1):
        gate[second * SAMPLE_RATE - FADE : second * SAMPLE_RATE] *= ramp[::-1]
    return gate
