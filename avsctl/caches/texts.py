"""Columns of text in few bytes: a Python string for each of many clips takes four times as much."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import overload

import numpy as np

_AT_ONCE = 1024


class Texts(Sequence[str]):
    """A column as it is stored; each text is made a string when it is asked for.

    Args:
        values: (n,) UTF-8 bytes, as numpy's fixed-length strings or as objects.
    """

    def __init__(self, values: np.ndarray):
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Texts: ...
    def __getitem__(self, place: int | slice) -> str | Texts:
        if isinstance(place, slice):
            return Texts(self._values[place])
        return self._values[place].decode()

    def __iter__(self) -> Iterator[str]:
        return (value.decode() for value in self._values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, (str, bytes)):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment] # like a list

    def __repr__(self) -> str:
        return f"Texts({list(self[:3])}{'…' if len(self) > 3 else ''})"

    def places(self) -> Places:
        """Where each text stands."""
        return Places(self)


class Places(Mapping[str, int]):
    """The place of each text in a column; of equal ones the last, as in a dict."""

    def __init__(self, texts: Texts):
        self._values = texts._values
        order = np.argsort(self._values, kind="stable")
        ordered = self._values[order]
        last = np.ones(len(order), bool)
        last[:-1] = ordered[1:] != ordered[:-1]
        self._order = order[last]

    def __len__(self) -> int:
        """How many different texts there are."""
        return len(self._order)

    def __iter__(self) -> Iterator[str]:
        return (self._values[place].decode() for place in np.sort(self._order))

    def __getitem__(self, text: str) -> int:
        wanted = text.encode(errors="surrogatepass")  # a file's name need not be UTF-8
        found = bisect_left(self._order, wanted, key=self._values.__getitem__)
        if found == len(self._order) or self._values[self._order[found]] != wanted:
            raise KeyError(text)
        return int(self._order[found])


class TextColumn:
    """A column that grows; its widest text decides what each takes."""

    def __init__(self) -> None:
        self._packed: list[np.ndarray] = []
        self._latest: list[bytes] = []

    def append(self, text: bytes) -> None:
        """Add UTF-8 bytes."""
        self._latest.append(text)
        if len(self._latest) == _AT_ONCE:
            self._packed.append(np.array(self._latest, "S"))
            self._latest = []

    def array(self) -> np.ndarray:
        """(n,) fixed-length strings."""
        return np.concatenate([*self._packed, np.array(self._latest, "S")])

    def __iter__(self) -> Iterator[bytes]:
        return chain(*self._packed, self._latest)

    def __len__(self) -> int:
        return len(self._packed) * _AT_ONCE + len(self._latest)


def packed(texts: Iterable[str]) -> np.ndarray:
    """(n,) fixed-length UTF-8 strings, as HDF5 stores them."""
    column = TextColumn()
    for text in texts:
        column.append(text.encode())
    return column.array()
