"""The second pass over a video: all its frames, drawn on by one or more films at once."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from avsctl.ahead import PREFETCH, work_ahead
from avsctl.progress import Track, silent
from avsctl.rendering.alpha_writer import AlphaWriter
from avsctl.rendering.columns import Columns
from avsctl.rendering.overlay import draw_masks, draw_transparent
from avsctl.rendering.video import FrameStream
from avsctl.rendering.video_writer import VideoWriter
from avsctl.stages.visualize_cast import Cast
from avsctl.stages.visualize_keys import MapSpool, fitted

Sound = tuple[np.ndarray, int] | None
"""(samples, channels) and rate, beginning with the film's first frame."""


@dataclass(frozen=True)
class Moment:
    """A frame and what is over it.

    Attributes:
        masks: the (height, width) shown indices of each panel, by (width, height).
    """

    seconds: float
    picture: np.ndarray
    cast: Cast
    masks: Mapping[tuple[int, int], list[np.ndarray]]


class Film(Protocol):
    """Something that takes all frames in turn; a context manager whose file is whole or not there.

    Attributes:
        mask_size: width and height of the masks that it draws.
    """

    mask_size: tuple[int, int]

    def __enter__(self) -> Any: ...

    def __exit__(self, kind, error, trace) -> None: ...

    def draw(self, moment: Moment) -> np.ndarray:
        """The film's picture of a moment."""

    def write(self, picture: np.ndarray, seconds: float) -> None:
        """Append a picture, `seconds` after the film's beginning."""

    def close(self, duration: float) -> Any:
        """Finish the file; the last frame is shown until `duration`."""


class OverlayFilm(VideoWriter):
    """The picture with the masks and names of the first panel over it."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float, alpha: float, sound: Sound):
        super().__init__(path, size, fps, audio=sound)
        self.mask_size, self._alpha = size, alpha

    def draw(self, moment: Moment) -> np.ndarray:
        """As `Film.draw`."""
        cast, picture = moment.cast, fitted(moment.picture, max(self.mask_size))
        return draw_masks(picture, moment.masks[self.mask_size][0], cast.names, cast.colours, self._alpha)


class TransparentFilm(AlphaWriter):
    """The masks and names of the first panel alone, on a transparent ground."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float, alpha: float):
        super().__init__(path, size, fps)
        self.mask_size, self._alpha = size, alpha

    def draw(self, moment: Moment) -> np.ndarray:
        """As `Film.draw`."""
        (mask, *_), cast = moment.masks[self.mask_size], moment.cast
        return draw_transparent(self.mask_size, mask, cast.names, cast.colours, self._alpha)

    def close(self, duration: float | None = None) -> Path:
        """As `AlphaWriter.close`; WebM shows the last frame until the other video ends."""
        return super().close()


class ColumnsFilm(VideoWriter):
    """The plain picture, and beside it the picture with each panel's masks."""

    def __init__(self, path: Path, columns: Columns, fps: float, alpha: float, sound: Sound):
        super().__init__(path, columns.size, fps, audio=sound)
        self.mask_size, self._columns, self._alpha = columns.cell, columns, alpha

    def draw(self, moment: Moment) -> np.ndarray:
        """As `Film.draw`."""
        cast, picture = moment.cast, self._columns.fit(moment.picture)
        masks = moment.masks[self.mask_size]
        drawn = [draw_masks(picture, mask, cast.names, cast.colours, self._alpha) for mask in masks]
        return self._columns.draw([picture, *drawn])


def project(
    stream: FrameStream,
    cast: Cast,
    spools: Sequence[MapSpool],
    films: Sequence[Film],
    *,
    duration: float,
    prefetch: int = PREFETCH,
    track: Track = silent,
) -> None:
    """Show every frame of a stretch of video to all films, and finish them.

    Args:
        spools: of each panel, with keys from the first frame on.
        duration: of the stretch in seconds.
        prefetch: frames that threads work ahead: one decodes and finds the masks, one draws, and the caller's encodes;
            0 does one thing after the other.
    """
    with ExitStack() as opened:
        for film in films:
            opened.enter_context(film)
        moments = work_ahead(_moments(stream, cast, spools, {film.mask_size for film in films}), prefetch)
        drawn = opened.enter_context(closing(work_ahead(_drawn(moments, films), prefetch)))
        for seconds, pictures in track(drawn, "drawing", stream.expected):
            for film, picture in zip(films, pictures, strict=True):
                film.write(picture, seconds - stream.begin)
        for film in films:
            film.close(duration)


def _drawn(moments: Generator[Moment, None, None], films: Sequence[Film]) -> Iterator[tuple[float, list[np.ndarray]]]:
    """The time of each frame, and its picture in each film."""
    with closing(moments):  # not left to the garbage collector: a thread may be at work for it
        for moment in moments:
            yield moment.seconds, [film.draw(moment) for film in films]


def _moments(
    stream: FrameStream, cast: Cast, spools: Sequence[MapSpool], sizes: Iterable[tuple[int, int]]
) -> Iterator[Moment]:
    keys = zip(*spools, strict=True)
    here = next(keys)
    after = next(keys, None)
    for seconds, picture in stream:
        while after is not None and seconds >= after[0].time:
            here, after = after, next(keys, None)
        panels = list(zip(cast.panels, here, after or [None] * len(here), strict=True))
        masks = {size: [panel.mask(key, size, then, seconds) for panel, key, then in panels] for size in sizes}
        yield Moment(seconds, picture, cast, masks)
