"""A video as clips: one picture per second, and the sound as a wav file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from avsctl.rendering.images import encode_jpeg
from avsctl.rendering.sound import read_audio
from avsctl.rendering.video import VideoInfo, open_video, read_frames

RATE = 16000
"""Samples a second of the sound, in one channel: what all sound encoders hear."""


@dataclass(frozen=True)
class VideoClip:
    """A stretch of a video.

    Args:
        begin: its first second; frames: one JPEG file per second; audio: a wav file, as long as there are frames.
    """

    begin: int
    frames: list[bytes]
    audio: bytes


def seconds_in(info: VideoInfo) -> int:
    """How many seconds a video gives: its length rounded, at least one."""
    return max(1, round(info.duration))


def pieces(seconds: int, length: int | None) -> list[tuple[int, int]]:
    """[begin, end) of the clips of `length` seconds; the last one is shorter, None makes one of all."""
    length = length or seconds
    return [(begin, min(begin + length, seconds)) for begin in range(0, seconds, length)]


def read_clips(video: Path | VideoInfo, length: int | None = None) -> Iterator[VideoClip]:
    """Cut a video into clips, each given as soon as it is read.

    The picture of a second is the first one shown at or after its beginning; where none comes any more, the last
    one. Sound that is missing is silence.

    Args:
        length: of a clip in seconds; None makes one of the whole video.
    Raises: AvsctlError: If the video can't be read, or no frame of it can be decoded.
    """
    info = video if isinstance(video, VideoInfo) else open_video(video)
    wave = _sound(info)
    stretches = pieces(seconds_in(info), length)
    frames: list[bytes] = []
    for frame in _pictures(info):
        frames.append(frame)
        begin, end = stretches[0]
        if len(frames) == end - begin:
            yield VideoClip(begin, frames, _wav(wave, begin, end))
            frames, stretches = [], stretches[1:]


def _pictures(info: VideoInfo) -> Iterator[bytes]:
    """A JPEG file for each second of a video."""
    given, wanted, last = 0, seconds_in(info), None
    for seconds, picture in read_frames(info):
        last = picture
        if seconds < given - 1e-6:
            continue
        data = encode_jpeg(picture)
        while given < wanted and seconds >= given - 1e-6:  # more than once where the video stands still
            yield data
            given += 1
    if given < wanted and last is not None:
        yield from [encode_jpeg(last)] * (wanted - given)


def _sound(info: VideoInfo) -> np.ndarray:
    """(samples,) int16 at `RATE`."""
    found = read_audio(info)
    if found is None:
        return np.zeros(0, np.int16)
    wave, rate, _ = found
    mono = np.clip(wave.mean(1, keepdims=True), -1, 1).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(mono.T), "fltp", "mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    parts = [piece.to_ndarray()[0] for given in (frame, None) for piece in resampler.resample(given)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)


def _wav(wave: np.ndarray, begin: int, end: int) -> bytes:
    import soundfile

    part = wave[begin * RATE : end * RATE]
    part = np.pad(part, (0, (end - begin) * RATE - len(part)))
    buffer = io.BytesIO()
    soundfile.write(buffer, part, RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
