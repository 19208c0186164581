"""Arrays that would add up in memory, kept in a temporary file until they are needed."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import IO, ClassVar

import numpy as np


class OnDisk:
    """An array of float64 in this process's temporary file, which has no name and ends with the process.

    It pickles as its numbers, so that another process can read it.
    """

    __slots__ = ("_place", "_shape")

    def __init__(self, values: np.ndarray):
        self._shape = values.shape
        self._place = _Store.write(np.ascontiguousarray(values, np.float64).tobytes())

    def read(self) -> np.ndarray:
        """The array, to the last bit."""
        count = int(np.prod(self._shape))
        return np.frombuffer(_Store.read(self._place, 8 * count), np.float64).reshape(self._shape)

    def __reduce__(self) -> tuple[type[OnDisk], tuple[np.ndarray]]:
        return OnDisk, (self.read(),)


class _Store:
    """One file for all arrays of a process; a forked child that writes gets one of its own."""

    _files: ClassVar[dict[int, IO[bytes]]] = {}

    @classmethod
    def write(cls, data: bytes) -> tuple[int, int]:
        """Append bytes; gives the process and the offset to read them from."""
        process = os.getpid()
        if process not in cls._files:
            cls._files[process] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - open until the process ends
        file = cls._files[process]
        offset = file.seek(0, os.SEEK_END)
        if file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return process, offset

    @classmethod
    def read(cls, place: tuple[int, int], size: int) -> bytes:
        """Read bytes, without moving the place at which a process that shares the file writes."""
        process, offset = place
        return os.pread(cls._files[process].fileno(), size, offset)
