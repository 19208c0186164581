"""The first pass over a video: the models look at some of its frames and listen to the sound around each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from avsctl.ahead import PREFETCH, work_ahead
from avsctl.progress import Track, silent
from avsctl.rendering.sheet import CELL_WIDTH
from avsctl.rendering.video import FrameStream
from avsctl.stages.visualize_cast import Cast
from avsctl.stages.visualize_keys import KeyMaps, fitted, key_maps
from avsctl.stages.visualize_models import shrink
from avsctl.stages.visualize_record import Presence, presences
from avsctl.stages.visualize_sound import SoundWindows

CLIP = 5
"""Frames a second apart that a model for several frames sees together, as in training."""
_MOST_AT_ONCE = 40  # frames whose maps are in memory together


@dataclass(frozen=True)
class Glance:
    """What the models say of one frame.

    Attributes:
        time: in seconds.
        thumbnail: the picture, small, where it stands for a second; else None.
        prior: (224, 224) probability of stage 1, or None.
        keys: the class maps of each panel; entries: the shown classes of each panel in this frame.
    """

    time: float
    thumbnail: np.ndarray | None
    prior: np.ndarray | None
    keys: list[KeyMaps]
    entries: list[list[Presence]]


@dataclass(frozen=True)
class _Sight:
    """A frame that the models are to see."""

    time: float
    inputs: dict[int, np.ndarray]
    thumbnail: np.ndarray | None


def look(
    stream: FrameStream,
    cast: Cast,
    windows: SoundWindows,
    *,
    fps: float,
    prefetch: int = PREFETCH,
    track: Track = silent,
) -> Generator[Glance, None, None]:
    """Let a cast see a stretch of video: its first frame, then the first at or after each multiple of 1 / fps.

    Frames are given to the models in clips of frames about a second apart, as they were trained on, and several such
    clips together.

    Args:
        prefetch: batches of frames that a thread decodes ahead, while another lets the models see the one before; 0
            does one thing after the other.
    """
    strands = min(max(1, round(fps)), _MOST_AT_ONCE // CLIP)
    batches = work_ahead(_batches(_sights(stream, cast, fps), strands * CLIP), prefetch)
    with closing(work_ahead(_seen(batches, cast, windows, strands), 1 if prefetch else 0)) as ahead:
        glances = (glance for found in ahead for glance in found)
        yield from track(glances, "looking and listening", min(stream.expected, math.ceil(stream.span * fps)))


def _batches(sights: Iterator[_Sight], size: int) -> Iterator[list[_Sight]]:
    while batch := list(itertools.islice(sights, size)):
        yield batch


def _sights(stream: FrameStream, cast: Cast, fps: float) -> Iterator[_Sight]:
    step, due, second, last = 1.0 / fps, 0.0, 0.0, None
    for seconds, picture in stream:
        # A late frame must not be followed at once by the next one.
        if last is not None and (seconds < due - 1e-6 or seconds - last < step / 2):
            continue
        thumbnail = None
        if last is None or seconds >= second - 1e-6:
            second = math.floor(seconds + 1e-6) + 1
            thumbnail = fitted(picture, 2 * CELL_WIDTH)
        last, due = seconds, (math.floor(seconds * fps + 1e-6) + 1) * step
        yield _Sight(seconds, shrink(picture, cast.sizes), thumbnail)


def _seen(
    batches: Generator[list[_Sight], None, None], cast: Cast, windows: SoundWindows, strands: int
) -> Iterator[list[Glance]]:
    with closing(batches):  # not left to the garbage collector: a thread may be at work for it
        for batch in batches:
            yield _glances(batch, cast, windows, strands)


def _glances(batch: Sequence[_Sight], cast: Cast, windows: SoundWindows, strands: int) -> list[Glance]:
    order = [number for strand in range(strands) for number in range(strand, len(batch), strands)]
    lengths = [len(range(strand, len(batch), strands)) for strand in range(min(strands, len(batch)))]
    times = np.array([sight.time for sight in batch])
    sounds = {name: windows.embed(encoder, times)[order] for name, encoder in cast.encoders.items()}
    prior, maps = cast.predict([batch[number].inputs for number in order], sounds, lengths)
    found = [presences(one) for one in maps]
    glances = []
    for number, sight in enumerate(batch):
        place = order.index(number)
        entries = [one[place] for one in found]
        glance = Glance(
            sight.time,
            sight.thumbnail,
            None if prior is None else prior[place],
            [key_maps(sight.time, one[place], mine) for one, mine in zip(maps, entries, strict=True)],
            [panel.shown(mine) for panel, mine in zip(cast.panels, entries, strict=True)],
        )
        glances.append(glance)
    return glances
