"""Small videos of every awkward kind, made on the spot."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def make_video(
    path: Path,
    frames: Sequence[np.ndarray],
    times: Sequence[float],
    *,
    codec: str = "libx264",
    wave: np.ndarray | None = None,
    rate: int = 16000,
    wave_start: float = 0.0,
    acodec: str = "aac",
    options: dict | None = None,
    full_range: bool = False,
) -> Path:
    """Write frames at their times (ms) and mono sound from `wave_start` on, with PyAV alone."""
    with av.open(str(path), "w", options=options or {}) as container:
        video = audio = None
        if len(frames):
            video = container.add_stream(codec, rate=25)
            video.height, video.width = frames[0].shape[:2]
            video.pix_fmt = "yuv420p"
            video.codec_context.time_base = Fraction(1, 1000)
            video.codec_context.gop_size = 10
            if codec == "libx264":
                video.options = {"crf": "4", "preset": "ultrafast"}
            if full_range:
                video.codec_context.color_range = 2
        if wave is not None:
            audio = container.add_stream(acodec, rate=rate)
            audio.layout = "mono"
        for picture, seconds in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_color_range=2 if full_range else 1)
            frame.pts, frame.time_base = round(seconds * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode(None))
        for start in range(0, 0 if wave is None else len(wave), 1024):
            piece = np.ascontiguousarray(wave[None, start : start + 1024], dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = start + round(wave_start * rate)
            container.mux(audio.encode(frame))
        if audio is not None:
            container.mux(audio.encode(None))
    return path


def set_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write a display matrix (a, b, c, d) into the first track header of an mp4, as cameras do."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    return path


def corners(height: int = 48, width: int = 64) -> np.ndarray:
    """A picture with red, green, blue and white quarters: top left, top right, bottom left, bottom right."""
    picture = np.zeros((height, width, 3), np.uint8)
    h, w = height // 2, width // 2
    picture[:h, :w], picture[:h, w:], picture[h:, :w], picture[h:, w:] = (
        (220, 30, 30), (30, 200, 30), (30, 30, 220), (230, 230, 230),
    )  # fmt: skip
    return picture


def numbered(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Grey pictures, brighter by the same step each: the order can be read from them."""
    return [np.full((height, width, 3), 20 + 200 * n // max(count - 1, 1), np.uint8) for n in range(count)]
