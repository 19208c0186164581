"""Reading of a video's sound on the clock of its pictures."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from avsctl.errors import AvsctlError
from avsctl.limits import MAX_SECONDS, MAX_VIDEO_SAMPLES
from avsctl.rendering.container import (
    DAMAGE,
    decode_stream,
    ignore,
    open_container,
    picture_stream,
    quoted,
    read_packets,
)
from avsctl.rendering.video import VideoInfo

_log = logging.getLogger(__name__)
_SLACK = 0.05  # seconds a time stamp may be off before it counts as a gap: containers round them


def read_audio(
    source: str | Path | VideoInfo, *, max_seconds: float = MAX_SECONDS
) -> tuple[np.ndarray, int, float] | None:
    """Read the first sound track, aligned to the pictures: sample 0 sounds when the first frame is shown.

    Sound that starts late is preceded by silence, sound before the first frame is cut, lost packets are
    silent. More than two channels are mixed down to stereo. A file without pictures starts with its own first
    sample.

    Returns: (samples, channels) float32 in about [-1, 1] with 1 or 2 channels, the rate in Hz, and the second
        at which the track really starts on that clock (positive: so much silence was put in front; negative:
        so much was cut). None if there is no sound track, or nothing of it can be decoded.
    Raises: AvsctlError: If the file can't be opened, or the sound is longer than `max_seconds`.
    """
    path = source.path if isinstance(source, VideoInfo) else Path(source)
    with open_container(path) as container:
        if not container.streams.audio or container.streams.audio[0].codec_context is None:
            return None
    start = source.start if isinstance(source, VideoInfo) else _picture_start(path)
    with open_container(path) as container:
        stream = container.streams.audio[0]
        track = _Track(path, start, stream.time_base, max_seconds)
        for frame in decode_stream(container, stream, track.count_loss):
            track.add(frame)
    if track.lost:
        _log.warning("%s: %d packets of sound could not be decoded", path, track.lost)
    return track.aligned()


class _Track:
    """Collects decoded sound by its time stamps."""

    def __init__(self, path: Path, start: float | None, time_base: Fraction, max_seconds: float) -> None:
        self.path, self.start, self.time_base, self.max_seconds = path, start, time_base, max_seconds
        self.lost = 0
        self._rate = 0  # of the first frame; later ones are resampled to it
        self._layout = "stereo"
        self._setup: tuple[str, str, int] | None = None
        self._resampler = av.AudioResampler()
        self._chunks: list[np.ndarray] = []
        self._first = self._next = 0  # sample positions on the pictures' clock

    def count_loss(self) -> None:
        self.lost += 1

    def add(self, frame: av.AudioFrame) -> None:
        setup = (frame.format.name, frame.layout.name, frame.sample_rate)
        if not self._rate:
            self._rate = frame.sample_rate
            self._layout = "mono" if len(frame.layout.channels) == 1 else "stereo"
            self._first = self._next = self._position(frame, default=0)
        if setup != self._setup:  # rarely more than once; broadcasts switch between stereo and surround
            self._resampler = av.AudioResampler(format="flt", layout=self._layout, rate=self._rate)
            self._setup = setup
        position = self._position(frame, default=self._next)
        gap = position - self._next
        if _SLACK * self._rate < gap < self.max_seconds * self._rate:
            self._append(np.zeros((gap, self._channels), np.float32))
        try:
            resampled = self._resampler.resample(frame)
        except DAMAGE:
            self.count_loss()
            return
        for piece in resampled:
            self._append(piece.to_ndarray().reshape(-1, self._channels))

    def aligned(self) -> tuple[np.ndarray, int, float] | None:
        if not self._chunks:
            return None
        if self._first > 0:
            self._chunks.insert(0, np.zeros((self._first, self._channels), np.float32))
        wave = np.concatenate(self._chunks)[max(0, -self._first) :]
        return (np.nan_to_num(wave, copy=False), self._rate, self._first / self._rate) if len(wave) else None

    @property
    def _channels(self) -> int:
        return 1 if self._layout == "mono" else 2

    def _position(self, frame: av.AudioFrame, default: int) -> int:
        if frame.pts is None:
            return default
        seconds = float(frame.pts * self.time_base)
        if self.start is None:
            self.start = seconds
        position = round((seconds - self.start) * self._rate)
        return position if abs(position) < self.max_seconds * self._rate else default

    def _append(self, samples: np.ndarray) -> None:
        self._chunks.append(np.ascontiguousarray(samples, dtype=np.float32))
        self._next += len(samples)
        if self._next > self.max_seconds * self._rate or self._next * self._channels > MAX_VIDEO_SAMPLES:
            raise AvsctlError(
                f"the sound of {self.path} is longer than {self.max_seconds:.0f} s at 48 kHz, the limit; cut it with "
                f"`ffmpeg -i {quoted(self.path)} -t {self.max_seconds:.0f} part.mp4`"
            )


def _picture_start(path: Path) -> float | None:
    """Seconds on the container's clock of the first frame shown, None without pictures."""
    with open_container(path) as container:
        try:
            stream = picture_stream(container, path)
        except AvsctlError:
            return None
        stamps = [
            packet.pts
            for packet in read_packets(container, stream, ignore)
            if packet is not None and packet.pts is not None and not getattr(packet, "is_discard", False)
        ]
        return float(min(stamps) * stream.time_base) if stamps else 0.0
