"""The clips that a dataset lists: thousands, so that they are kept in few bytes."""

from __future__ import annotations

import marshal
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, overload


@dataclass(frozen=True, slots=True)
class Entry:
    """A clip as the dataset's csv names it.

    Args:
        uid: unique in the dataset.
        video: the source video, shared by the clips cut from it.
        subset, split: as the caches call them (`s4`, `train`).
        place: names of the folders that lead to its files, as the layout needs them.
        labelled: numbers of the labelled frames.
        frames: how many frames it has.
        objects: names of what it shows, where the csv tells.
        line: of the csv file.
    """

    uid: str
    video: str
    subset: str
    split: str
    place: tuple[str, ...]
    labelled: tuple[int, ...]
    frames: int
    objects: tuple[str, ...] = ()
    line: int = 0

    def __post_init__(self) -> None:
        # The same few words and tuples for all clips.
        shared: dict[str, Any] = {name: sys.intern(getattr(self, name)) for name in ("subset", "split")}
        shared["place"] = (*map(sys.intern, self.place[:-1]), *self.place[-1:])
        shared |= {name: _shared(getattr(self, name)) for name in ("labelled", "objects")}
        for name, value in shared.items():
            object.__setattr__(self, name, value)


@lru_cache(maxsize=4096)
def _shared(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The first tuple that was equal to this one."""
    return values


_values = attrgetter(*(field.name for field in fields(Entry)))


class Entries(Sequence[Entry]):
    """A list of entries, each of which is packed and made again when it is asked for."""

    def __init__(self, entries: Iterable[Entry] = ()):
        self._packed = bytearray()
        self._bounds = array("q", [0])
        self.extend(entries)

    def append(self, entry: Entry) -> None:
        """Add one at the end."""
        self._packed += marshal.dumps(_values(entry))  # marshal's format never leaves this program
        self._bounds.append(len(self._packed))

    def extend(self, entries: Iterable[Entry]) -> None:
        """Add some at the end."""
        for entry in entries:
            self.append(entry)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> Entries: ...
    def __getitem__(self, place: int | slice) -> Entry | Entries:
        places = range(len(self))[place]
        return self._entry(places) if isinstance(places, int) else Entries(map(self._entry, places))

    def __iter__(self) -> Iterator[Entry]:
        return map(self._entry, range(len(self)))

    def _entry(self, place: int) -> Entry:
        first, last = self._bounds[place : place + 2]
        return Entry(*marshal.loads(self._packed[first:last]))
