"""Writing of videos that play everywhere: H.264 and AAC in an mp4, with the frames' own times."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace

from avsctl.errors import AvsctlError
from avsctl.rendering.growing_video import GrowingVideo, even_sides
from avsctl.rendering.images import checked_rgb

_CLOCK = 90_000  # ticks per second; divides evenly by all usual frame rates
_ENCODERS = ("libx264", "libopenh264")
_AAC_RATES = (16000, 22050, 24000, 32000, 44100, 48000)
_SOUND_FRAME = 1024
_BT709 = 1


class VideoWriter(GrowingVideo):
    """Write RGB frames and sound as H.264 (main profile, yuv420p) and AAC in a fast-start mp4.

    Frames keep the times they are given, so that a variable rate stays as it was and the sound in step. Odd
    sizes are padded by repeating the last row or column. The file grows as `<path>.part` and gets its name
    when it is complete; leaving the `with` block by an exception removes it.

    Args:
        path: The mp4 to write; its folder must exist.
        size: (width, height) of the frames.
        fps: Frames per second: the spacing of frames written without a time, and how long the last one is
            shown.
        audio: (samples, 1 or 2 channels) or (samples,) float in [-1, 1] and its rate in Hz; sample 0 sounds
            with the first frame. Rates that AAC players don't all know are converted to 48 kHz.
        crf: x264's quality, 0 (lossless) to 51; smaller is better and larger.
    Raises: ValueError: If an argument is out of range. AvsctlError: If the file can't be made.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        fps: float,
        *,
        audio: tuple[np.ndarray, int] | None = None,
        crf: int = 20,
    ) -> None:
        width, height = size
        if width < 1 or height < 1 or not 0 < fps <= 1000 or not 0 <= crf <= 51:
            raise ValueError(f"impossible video: {width} x {height} pixels, {fps} frames per second, crf {crf}")
        super().__init__(path)
        self._size, self._fps = (width, height), float(fps)
        self._sound, self._rate = _checked_audio(audio)
        self._sound_position = 0
        self._stamps: list[int] = []
        self._durations: dict[int | None, int] = {}  # by time stamp
        self._last_duration = max(1, round(_CLOCK / fps))
        self._open(crf)

    def write(self, rgb: np.ndarray, seconds: float | None = None) -> None:
        """Append a (height, width, 3) uint8 frame, shown from `seconds` (default: a step after the last).

        The first frame is shown from 0 on whatever its time, so that a video never starts black.

        Raises: ValueError: If the frame has another size or type, or its time isn't later than the last
            one's.
        """
        rgb = checked_rgb(rgb)
        if rgb.shape[:2] != self._size[::-1]:
            raise ValueError(f"the frame is {rgb.shape[1]} x {rgb.shape[0]}, the video {self._size}")
        stamp = self._stamp(seconds)
        if self._stamps:
            self._durations[self._stamps[-1]] = stamp - self._stamps[-1]
        self._stamps.append(stamp)
        frame = av.VideoFrame.from_ndarray(even_sides(rgb, "edge"), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = stamp, Fraction(1, _CLOCK)
        self._guarded(lambda container: self._mux_pictures(container, self._video.encode(frame)))
        self._guarded(lambda container: self._encode_sound(container, until=stamp / _CLOCK + 1.0))

    def close(self, duration: float | None = None) -> Path:
        """Finish the file and name it; the last frame is shown until `duration` seconds (default: a step).

        Raises: ValueError: If no frame was written. AvsctlError: If the file can't be finished.
        """
        if self._container is None:
            return self.path
        if not self._stamps:
            self.discard()
            raise ValueError(f"no frame was written to {self.path}")
        if duration is not None:
            self._last_duration = max(1, round(duration * _CLOCK) - self._stamps[-1])
        return super().close()

    def _open(self, crf: int) -> None:
        if not self.path.parent.is_dir():
            raise AvsctlError(f"cannot write {self.path}: its folder does not exist; make it first")
        width, height = (side + side % 2 for side in self._size)
        try:
            container = av.open(str(self._part), "w", format="mp4", options={"movflags": "+faststart"})
            self._container = container
            stream = container.add_stream(_encoder(), rate=Fraction(self._fps).limit_denominator(1001))
            self._video = cast(av.VideoStream, stream)
            self._describe_video(width, height, crf)
            self._audio: av.AudioStream | None = None
            if self._sound is not None:
                rate = self._rate if self._rate in _AAC_RATES else 48000
                self._audio = container.add_stream("aac", rate=rate)
                self._audio.layout = "mono" if self._sound.shape[1] == 1 else "stereo"
                self._audio.bit_rate = min(96_000, 4 * rate) * self._sound.shape[1]
            container.start_encoding()  # opens the file: a bad place shows before the work
        except (av.error.FFmpegError, OSError) as error:
            self.discard()
            raise AvsctlError(
                f"cannot write {self.path} ({error}): check the folder's permissions, the free space and the "
                f"size of the pictures, {width} x {height}"
            ) from error
        except BaseException:
            self.discard()
            raise

    def _describe_video(self, width: int, height: int, crf: int) -> None:
        stream, context = self._video, self._video.codec_context
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = context.time_base = Fraction(1, _CLOCK)
        context.color_range, context.colorspace = 1, _BT709
        context.color_primaries = context.color_trc = _BT709
        if context.name == "libx264":
            # Without B-frames decoding and showing order agree: players that ignore edit lists stay in step,
            # and the last packet is the last frame, whose length sets the video's. Without 8x8dct it is main
            # profile (asked for by name, some FFmpeg versions refuse).
            params = "bframes=0:8x8dct=0"
            stream.options = {"crf": str(crf), "preset": "veryfast", "x264-params": params}

    def _stamp(self, seconds: float | None) -> int:
        if not self._stamps:
            return 0
        if seconds is None:
            return self._stamps[-1] + max(1, round(_CLOCK / self._fps))
        stamp = round(seconds * _CLOCK) if np.isfinite(seconds) else -1
        if stamp <= self._stamps[-1]:
            raise ValueError(f"frame at {seconds} s after one at {self._stamps[-1] / _CLOCK} s: times must ascend")
        return stamp

    def _mux_pictures(self, container: OutputContainer, packets: Sequence[av.Packet]) -> None:
        for packet in packets:
            # mp4 takes the length of the last frame from here
            packet.duration = self._durations.pop(packet.pts, self._last_duration)
            container.mux(packet)

    def _encode_sound(self, container: OutputContainer, until: float) -> None:
        if self._audio is None or self._sound is None:
            return
        end = min(len(self._sound), round(min(until, len(self._sound) / self._rate + 1) * self._rate))
        while self._sound_position < end:
            piece = self._sound[self._sound_position : self._sound_position + _SOUND_FRAME]
            piece = np.clip(np.nan_to_num(piece), -1.0, 1.0).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece.T), "fltp", self._audio.layout.name)
            frame.sample_rate, frame.time_base = self._rate, Fraction(1, self._rate)
            frame.pts = self._sound_position
            container.mux(self._audio.encode(frame))
            self._sound_position += len(piece)

    def _flush(self, container: OutputContainer) -> None:
        self._encode_sound(container, until=np.inf)
        if self._audio is not None:
            container.mux(self._audio.encode(None))
        self._mux_pictures(container, self._video.encode(None))


def _encoder() -> str:
    for name in _ENCODERS:
        if name in av.codecs_available:
            return name
    raise AvsctlError("this PyAV has no H.264 encoder; type `pip install --force-reinstall av`")


def _checked_audio(audio: tuple[np.ndarray, int] | None) -> tuple[np.ndarray | None, int]:
    if audio is None:
        return None, 0
    wave, rate = audio
    wave = np.asarray(wave)
    wave = wave[:, None] if wave.ndim == 1 else wave
    if wave.ndim != 2 or wave.shape[1] not in (1, 2) or wave.dtype.kind != "f" or rate <= 0:
        raise ValueError(f"sound is (samples, 1 or 2) float at a rate above 0, not {wave.shape} {wave.dtype} {rate}")
    return (wave if len(wave) else None), int(rate)
