"""Writing of videos with a transparent ground: VP9 with alpha in WebM, which browsers and editors lay over another."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
import numpy as np
from av.container import OutputContainer

from avsctl.errors import AvsctlError
from avsctl.rendering.growing_video import GrowingVideo, even_sides

_CLOCK = 1000  # WebM counts milliseconds
_ENCODER = "libvpx-vp9"


class AlphaWriter(GrowingVideo):
    """Write RGBA frames as VP9 with alpha (yuva420p) in WebM, without sound.

    Frames keep the times they are given, to the millisecond. Odd sizes are padded by a transparent row or column. The
    file grows as `<path>.part` and gets its name when it is complete; leaving the `with` block by an exception
    removes it. FFmpeg's own VP9 decoder ignores alpha: read it with libvpx-vp9, or in a browser.

    Args:
        path: The WebM to write; its folder must exist.
        size: (width, height) of the frames.
        crf: 0 (best) to 63.
    Raises: AvsctlError: If this PyAV can't write VP9 with alpha, or the file can't be made.
    """

    def __init__(self, path: str | Path, size: tuple[int, int], fps: float, *, crf: int = 32) -> None:
        if _ENCODER not in av.codecs_available:
            raise AvsctlError("this PyAV has no libvpx-vp9; type `pip install --force-reinstall av`")
        super().__init__(path)
        self._size = size
        self._last = -1
        try:
            # Without bitexact each file gets a random number of its own.
            container = av.open(str(self._part), "w", format="webm", options={"fflags": "+bitexact"})
            self._container = container
            self._stream = self._add_stream(container, fps, crf)
            container.start_encoding()
        except (av.error.FFmpegError, OSError) as error:
            self.discard()
            raise AvsctlError(f"cannot write {self.path} ({error}): check the folder and the free space") from error

    def _add_stream(self, container: OutputContainer, fps: float, crf: int) -> av.VideoStream:
        stream = cast(av.VideoStream, container.add_stream(_ENCODER, rate=Fraction(fps).limit_denominator(1001)))
        stream.width, stream.height = (side + side % 2 for side in self._size)
        stream.pix_fmt = "yuva420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, _CLOCK)
        # Alternate reference frames, which are never shown, would part colour and alpha.
        stream.options = {"crf": str(crf), "b": "0", "deadline": "realtime", "cpu-used": "6", "auto-alt-ref": "0"}
        stream.metadata["alpha_mode"] = "1"
        return stream

    def write(self, rgba: np.ndarray, seconds: float) -> None:
        """Append a (height, width, 4) uint8 frame with straight alpha, shown from `seconds`.

        Raises: ValueError: If its shape is wrong or its time is before the last one's.
        """
        rgba = np.asarray(rgba)
        if rgba.shape != (*self._size[::-1], 4) or rgba.dtype != np.uint8:
            raise ValueError(f"the frame is {rgba.shape} {rgba.dtype}, the video {self._size} RGBA")
        stamp = round(seconds * _CLOCK)
        if stamp < self._last:
            raise ValueError(f"frame at {seconds} s after one at {self._last / _CLOCK} s: times must ascend")
        stamp = max(stamp, self._last + 1)  # faster than a thousand a second
        self._last = stamp
        frame = av.VideoFrame.from_ndarray(even_sides(rgba, "constant"), format="rgba").reformat(format="yuva420p")
        frame.pts, frame.time_base = stamp, Fraction(1, _CLOCK)
        self._guarded(lambda container: container.mux(self._stream.encode(frame)))

    def _flush(self, container: OutputContainer) -> None:
        container.mux(self._stream.encode(None))
