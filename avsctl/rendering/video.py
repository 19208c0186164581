"""Reading of any video PyAV decodes: frames with their own times, and the sound on the same clock.

Time 0 is the first picture of the file. All that is handed out, frame times and sound, counts from there.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from avsctl.errors import AvsctlError
from avsctl.limits import MAX_SECONDS, max_pixels as pixel_limit
from avsctl.rendering.container import (
    decode_packet,
    decode_stream,
    ignore,
    open_container,
    picture_stream,
    quoted,
    read_packets,
)

_NOT_BT601 = (1, 4, 7)  # FFmpeg's numbers for BT.709, FCC and SMPTE 240M
_SAME = 1e-6  # seconds by which the same moment may differ between clocks
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What a video holds, as it is shown.

    Attributes:
        path: The file.
        width, height: Size in square pixels after rotation: the size of the frames `read_frames` gives.
        times: (T,) seconds of the frames the file lists, ascending, the first 0. Damaged frames are among
            them.
        duration: Seconds from the first frame until the last one has been shown.
        fps: Average frames per second.
        has_audio: Whether there is a sound track (which may still prove to be broken).
        rotation: Degrees clockwise by which frames are turned before they are shown: 0, 90, 180 or 270.
        start: The container's time of the first frame, in seconds.
        has_times: False where the file has no usable time stamps; frames are then spaced evenly.
        missing: How many frames the file's header promises beyond those that are there (cut-off files).
        turn: How frames are turned: swap the axes, then mirror left-right, then top-bottom.
    """

    path: Path
    width: int
    height: int
    times: np.ndarray
    duration: float
    fps: float
    has_audio: bool
    rotation: int
    start: float = 0.0
    has_times: bool = True
    missing: int = 0
    turn: tuple[bool, bool, bool] = (False, False, False)


@dataclass
class FrameStream:
    """Iterate (seconds, (H, W, 3) uint8 RGB) in the order of showing, with one frame in memory at a time.

    Frames that can't be decoded are left out; after the iteration `lost` counts them (packets that failed,
    plus what a cut-off file promised and lacks) and `shown` counts the frames given. Of a stretch, frames before
    `begin` are decoded, for the others depend on them, but not converted, which is most of the work.
    """

    info: VideoInfo
    max_pixels: int | None = None
    begin: float = 0.0
    end: float | None = None
    lost: int = field(default=0, init=False)
    shown: int = field(default=0, init=False)
    _decoded: int = field(default=0, init=False)

    @property
    def expected(self) -> int:
        """How many frames the file lists for the stretch."""
        times, end = self.info.times, np.inf if self.end is None else self.end
        return int(np.count_nonzero((times >= self.begin - _SAME) & (times < end - _SAME)))

    @property
    def span(self) -> float:
        """How long the stretch is, in seconds."""
        return min(self.info.duration, np.inf if self.end is None else self.end) - self.begin

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        self.lost, self.shown = self.info.missing if self.end is None else 0, 0
        last, self._decoded = -1.0, 0
        with open_container(self.info.path) as container:
            stream = picture_stream(container, self.info.path)
            _limit(stream, self.max_pixels)
            for frame in decode_stream(container, stream, self._count_loss):
                seconds = self._seconds(frame, stream.time_base, last)
                if seconds < 0:  # before the start an edit list sets: decoded only for the frames after it
                    continue
                last = seconds
                self._decoded += 1
                if seconds < self.begin - _SAME:
                    continue
                if self.end is not None and seconds >= self.end - _SAME:
                    break
                self.shown += 1
                yield seconds, _as_shown(frame, self.info)
        if self.lost:
            _log.warning("%s: %d of %d frames could not be decoded", self.info.path, self.lost, self.lost + self.shown)

    def _count_loss(self) -> None:
        self.lost += 1

    def _seconds(self, frame: av.VideoFrame, time_base: Fraction, last: float) -> float:
        step = 1.0 / self.info.fps
        if not self.info.has_times:
            return self._decoded * step
        if frame.pts is None:
            return max(last, 0.0) + (step if self._decoded else 0.0)
        seconds = float(frame.pts * time_base) - self.info.start
        if seconds < -_SAME:
            return -1.0
        return max(seconds, 0.0) if seconds > last else last + min(step, 1e-3)


def open_video(path: str | Path, *, max_pixels: int | None = None, max_seconds: float = MAX_SECONDS) -> VideoInfo:
    """Look through a video's packets and decode its first frame.

    Raises: AvsctlError: If the path is missing, a folder, empty or no video, has no picture track or no frame
        that can be decoded, or exceeds `max_pixels` per frame or `max_seconds`.
    """
    path = Path(path)
    with open_container(path) as container:
        stream = picture_stream(container, path)
        _check_pixels(path, stream.codec_context.width, stream.codec_context.height, max_pixels)
        _limit(stream, max_pixels)
        first, stamps, packets, last_step = _scan(container, stream, max_seconds)
        if first is None:
            raise AvsctlError(
                f"none of the {packets} frames in {path} can be decoded: the file is damaged; get it again"
            )
        rotation, turn = _orientation(first)
        width, height = _square_pixels(first, stream)
        _check_pixels(path, width, height, max_pixels)
        times, start, fps, has_times = _timing(stamps, stream)
        duration = float(times[-1]) + (last_step if 0 < last_step < 60 else 1.0 / fps)
        if duration > max_seconds:
            raise AvsctlError(
                f"{path} runs {duration:.0f} s by its time stamps, the limit is {max_seconds:.0f} s; "
                f"cut it with `ffmpeg -i {quoted(path)} -t {max_seconds:.0f} part.mp4`"
            )
        if turn[0]:
            width, height = height, width
        missing = max(0, (stream.frames or 0) - packets)
        has_audio = bool(container.streams.audio)
    return VideoInfo(
        path, width, height, times, duration, fps, has_audio, rotation, start, has_times, missing, turn
    )


def read_frames(
    source: str | Path | VideoInfo, *, max_pixels: int | None = None, begin: float = 0.0, end: float | None = None
) -> FrameStream:
    """Stream a video's frames shown in [begin, end) seconds, upright and in the order of showing, with their own times.

    Frames have the size of `VideoInfo` throughout, even if the file changes size on the way. Damaged packets
    are skipped and counted in the stream's `lost`.

    Raises: AvsctlError: As `open_video`.
    """
    info = source if isinstance(source, VideoInfo) else open_video(source, max_pixels=max_pixels)
    return FrameStream(info, max_pixels, begin, end)


def _scan(container, stream, max_seconds: float) -> tuple[av.VideoFrame | None, list[int | None], int, float]:
    """Read all packets: first frame, stamps of the frames to show, packet count, seconds of the last.

    Where the stamps go further than `max_seconds`, the rest is left out.
    """
    first, stamps, packets, earliest, latest, last_step = None, [], 0, np.inf, -np.inf, 0.0
    for packet in read_packets(container, stream, ignore):
        if packet is not None and packet.size:
            packets += 1
            if not getattr(packet, "is_discard", False):
                stamps.append(packet.pts)
                if packet.pts is not None and packet.pts > latest:
                    latest, last_step = packet.pts, float((packet.duration or 0) * stream.time_base)
                earliest = min(earliest, latest if packet.pts is None else packet.pts)
        if first is None:
            frames = decode_packet(stream, packet, ignore)
            first = frames[0] if frames else None
        elif (latest - earliest) * float(stream.time_base) > max_seconds:
            break
    return first, stamps, packets, last_step


def _timing(stamps: list[int | None], stream) -> tuple[np.ndarray, float, float, bool]:
    """Frame times from packet stamps, even ones where stamps are missing or doubled."""
    known = sorted({stamp for stamp in stamps if stamp is not None})
    nominal = stream.average_rate or getattr(stream, "guessed_rate", None) or 25
    nominal = float(nominal) if 0 < float(nominal) <= 1000 else 25.0
    count = max(len(stamps), 1)
    if len(known) < count or not known:
        start = float(known[0] * stream.time_base) if known else 0.0
        return np.arange(count) / nominal, start, nominal, False
    times = np.array([float((stamp - known[0]) * stream.time_base) for stamp in known])
    fps = (count - 1) / times[-1] if count > 1 and times[-1] > 0 else nominal
    return times, float(known[0] * stream.time_base), float(fps), True


def _limit(stream, max_pixels: int | None) -> None:
    # FFmpeg's own limit: frames whose size only shows inside the stream are refused before they are allocated.
    stream.codec_context.options = {"max_pixels": str(pixel_limit() if max_pixels is None else max_pixels)}
    # Frame threads swallow errors and drop the good frames around them (72 instead of 74 of a cut-off file).
    stream.thread_type = "SLICE"


def _check_pixels(path: Path, width: int, height: int, max_pixels: int | None) -> None:
    max_pixels = pixel_limit() if max_pixels is None else max_pixels
    if width * height > max_pixels:
        raise AvsctlError(
            f"{path} has {width} x {height} pixels a frame, the limit is {max_pixels}; make it smaller with "
            f"`ffmpeg -i {quoted(path)} -vf scale=1280:-2 small.mp4`"
        )


def _orientation(frame: av.VideoFrame) -> tuple[int, tuple[bool, bool, bool]]:
    """Clockwise degrees, and `VideoInfo.turn`.

    For one frame of a video only: reading side data ties a frame into a reference cycle, which piles up
        memory.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 0, (False, False, False)
    a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
    degrees = int(round(np.degrees(np.arctan2(b, a)) / 90.0)) * 90 % 360
    if abs(b) > abs(a):
        return degrees, (True, c < 0, b < 0)
    return degrees, (False, a < 0, d < 0)


def _square_pixels(frame: av.VideoFrame, stream) -> tuple[int, int]:
    """Size before rotation, the width stretched as the aspect ratio of the pixels says."""
    aspect = float(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)
    width = round(frame.width * aspect) if 0.2 < aspect < 5 else frame.width
    return max(width, 1), frame.height


def _as_shown(frame: av.VideoFrame, info: VideoInfo) -> np.ndarray:
    swap, mirror, flip = info.turn
    width, height = (info.height, info.width) if swap else (info.width, info.height)
    colours = {}
    if frame.colorspace in _NOT_BT601:  # PyAV before 17 heeds it only if told all this
        source_range = frame.color_range if frame.color_range in (1, 2) else 1
        colours = {"src_colorspace": frame.colorspace, "src_color_range": source_range, "dst_color_range": 2}
    rgb = frame.reformat(width=width, height=height, format="rgb24", **colours).to_ndarray()
    rgb = rgb.transpose(1, 0, 2) if swap else rgb
    rgb = rgb[:, ::-1] if mirror else rgb
    return np.ascontiguousarray(rgb[::-1] if flip else rgb)
