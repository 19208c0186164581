"""Which clips of a cache are no longer what was written, and the same cache with those made again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent

log = logging.getLogger(__name__)

Item = Mapping[str, np.ndarray]


class Checked(Protocol):
    """A cache whose clips carry checksums, each known by its place."""

    path: Path

    @property
    def uids(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def verify(self, clip: int) -> bool:
        """Whether a clip's bytes are still those that were written."""

    def item(self, clip: int) -> Item:
        """A clip as the cache's `assemble_…` takes it."""


C = TypeVar("C", bound=Checked)


def damaged_clips(cache: Checked, track: Track = silent) -> list[int]:
    """The clips whose bytes can't be read or are not those that were written."""
    return [
        clip for clip in track(range(len(cache)), f"checking {cache.path.name}", len(cache)) if not _whole(cache, clip)
    ]


def _whole(cache: Checked, clip: int) -> bool:
    try:
        return cache.verify(clip)
    except AvsctlError:
        return False


def find_damage(read: Callable[[], C], track: Track = silent) -> tuple[C, list[int]] | None:
    """Open a cache and check every clip, saying what was found; None where not even its index can be read."""
    try:
        cache = read()
    except AvsctlError as error:
        log.warning("%s Nothing in it can be kept: all of it is made again.", error)
        return None
    clips = damaged_clips(cache, track)
    for clip in clips:
        log.warning("%s: clip %s is damaged and is made again", cache.path, cache.uids[clip])
    if not clips:
        log.info("%s: all %d clips are as they were written", cache.path, len(cache))
    return cache, clips


def mended(cache: Checked, again: Mapping[int, Item], track: Track = silent) -> Callable[[], Iterator[Item]]:
    """What `assemble_…` takes as `items`: the clips made `again`, all others from the cache."""

    def items() -> Iterator[Item]:
        for clip in track(range(len(cache)), f"writing {cache.path.name}", len(cache)):
            yield again[clip] if clip in again else cache.item(clip)

    return items


def clip_hashes(stored: Sequence[str], path: Path) -> Sequence[str]:
    """The checksums of a cache's clips.

    Raises: AvsctlError: If it has none.
    """
    if not stored:
        raise AvsctlError(f"{path} has no checksums of its clips. Make it again with --overwrite to have them.")
    return stored
