"""The second pass over a video: all its frames, drawn on by one or more films at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from avsctl.progress import Track, silent
from avsctl.rendering.alpha_writer import AlphaWriter
from avsctl.rendering.columns import Columns
from avsctl.rendering.overlay import draw_masks, draw_transparent
from avsctl.rendering.video import FrameStream
from avsctl.rendering.video_writer import VideoWriter
from avsctl.stages.visualize_cast import Cast
from avsctl.stages.visualize_keys import KeyMaps, MapSpool, fitted

Sound = tuple[np.ndarray, int] | None
"""(samples, channels) and rate, beginning with the film's first frame."""


@dataclass
class Moment:
    """A frame with what is known at its time: the key before it and the key after it of each panel."""

    seconds: float
    picture: np.ndarray
    cast: Cast
    here: Sequence[KeyMaps]
    after: Sequence[KeyMaps | None]
    _masks: dict[tuple[int, int], list[np.ndarray]] = field(default_factory=dict)

    def masks(self, size: tuple[int, int]) -> list[np.ndarray]:
        """(height, width) shown indices of each panel."""
        if size not in self._masks:
            keys = zip(self.cast.panels, self.here, self.after, strict=True)
            self._masks[size] = [panel.mask(here, size, after, self.seconds) for panel, here, after in keys]
        return self._masks[size]


class Film(Protocol):
    """Something that takes all frames in turn; a context manager whose file is whole or not there."""

    def __enter__(self) -> Any: ...

    def __exit__(self, kind, error, trace) -> None: ...

    def show(self, moment: Moment, seconds: float) -> None:
        """Draw a frame, `seconds` after the film's beginning."""

    def close(self, duration: float) -> Any:
        """Finish the file; the last frame is shown until `duration`."""


class OverlayFilm(VideoWriter):
    """The picture with the masks and names of the first panel over it."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float, alpha: float, sound: Sound):
        super().__init__(path, size, fps, audio=sound)
        self._side, self._shape, self._alpha = max(size), size, alpha

    def show(self, moment: Moment, seconds: float) -> None:
        """As `Film.show`."""
        cast, picture = moment.cast, fitted(moment.picture, self._side)
        self.write(draw_masks(picture, moment.masks(self._shape)[0], cast.names, cast.colours, self._alpha), seconds)


class TransparentFilm(AlphaWriter):
    """The masks and names of the first panel alone, on a transparent ground."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float, alpha: float):
        super().__init__(path, size, fps)
        self._shape, self._alpha = size, alpha

    def show(self, moment: Moment, seconds: float) -> None:
        """As `Film.show`."""
        (mask, *_), cast = moment.masks(self._shape), moment.cast
        self.write(draw_transparent(self._shape, mask, cast.names, cast.colours, self._alpha), seconds)

    def close(self, duration: float | None = None) -> Path:
        """As `AlphaWriter.close`; WebM shows the last frame until the other video ends."""
        return super().close()


class ColumnsFilm(VideoWriter):
    """The plain picture, and beside it the picture with each panel's masks."""

    def __init__(self, path: Path, columns: Columns, fps: float, alpha: float, sound: Sound):
        super().__init__(path, columns.size, fps, audio=sound)
        self._columns, self._alpha = columns, alpha

    def show(self, moment: Moment, seconds: float) -> None:
        """As `Film.show`."""
        cast, picture = moment.cast, self._columns.fit(moment.picture)
        masks = moment.masks(self._columns.cell)
        drawn = [draw_masks(picture, mask, cast.names, cast.colours, self._alpha) for mask in masks]
        self.write(self._columns.draw([picture, *drawn]), seconds)


def project(
    stream: FrameStream,
    cast: Cast,
    spools: Sequence[MapSpool],
    films: Sequence[Film],
    *,
    duration: float,
    track: Track = silent,
) -> None:
    """Show every frame of a stretch of video to all films, and finish them.

    Args:
        spools: of each panel, with keys from the first frame on.
        duration: of the stretch in seconds.
    """
    with ExitStack() as open_films:
        for film in films:
            open_films.enter_context(film)
        for moment in track(_moments(stream, cast, spools), "drawing", stream.expected):
            for film in films:
                film.show(moment, moment.seconds - stream.begin)
        for film in films:
            film.close(duration)


def _moments(stream: FrameStream, cast: Cast, spools: Sequence[MapSpool]) -> Iterator[Moment]:
    keys = zip(*spools, strict=True)
    here = next(keys)
    after = next(keys, None)
    for seconds, picture in stream:
        while after is not None and seconds >= after[0].time:
            here, after = after, next(keys, None)
        yield Moment(seconds, picture, cast, here, after or [None] * len(here))
