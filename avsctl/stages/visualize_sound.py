"""What a model hears at each frame it sees of a video."""

from __future__ import annotations

import numpy as np

from avsctl_models.audio.encoders import AudioEncoder
from avsctl_models.audio.frontend import RATE, mono_16k

_MARGIN = 0.25  # seconds of sound beside a stretch, so that resampling knows its ends


class SoundWindows:
    """Embeds the second of sound around each moment.

    The window is centred on the frame, since a clip's frame i comes from somewhere within the second i that it is
    trained with; at the ends of the video it stays inside. Each window is embedded on its own, as the first second
    of a clip, so that nothing drifts however long the video is.

    Args:
        wave: (samples, channels) float32 that starts with the first frame, or None for silence; rate: in Hz.
        duration: of the video in seconds.
    """

    def __init__(self, wave: np.ndarray | None, rate: int, duration: float):
        self._wave = np.zeros((0, 1), np.float32) if wave is None else wave
        self._rate, self._silent = rate, wave is None
        self._last = max(0.0, duration - 1.0)

    def starts(self, times: np.ndarray) -> np.ndarray:
        """Where the windows of frames at `times` begin, in seconds."""
        return np.clip(np.asarray(times, float) - 0.5, 0.0, self._last)

    def embed(self, encoder: AudioEncoder, times: np.ndarray) -> np.ndarray:
        """(N, D) float32 for N ascending times in seconds."""
        starts = self.starts(times)
        if self._silent:
            silent = encoder.encode(np.zeros(RATE, np.float32), RATE, 1)
            return np.repeat(silent, len(starts), axis=0)
        begin = max(0.0, starts[0] - _MARGIN)
        sound = self._stretch(begin, starts[-1] + 1.0 + _MARGIN)
        rows = []
        for start in starts:
            first = round((start - begin) * RATE)
            rows.append(encoder.encode(sound[first : first + RATE], RATE, 1))
        return np.concatenate(rows)

    def _stretch(self, begin: float, end: float) -> np.ndarray:
        """16 kHz mono sound of [begin, end); silence where the track has ended."""
        needed = round((end - begin) * RATE)
        part = self._wave[round(begin * self._rate) : round(end * self._rate)]
        sound = mono_16k(part, self._rate) if len(part) > 1 else np.zeros(0)
        return np.pad(sound, (0, max(0, needed - len(sound)))) if len(sound) < needed else sound
