"""A video file that gets its name when it is complete."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import av
import av.error
import numpy as np
from av.container import OutputContainer

from avsctl.errors import AvsctlError

W = TypeVar("W", bound="GrowingVideo")


class GrowingVideo:
    """Base of the writers: the file grows as `<path>.part`; leaving the `with` block by an exception removes it.

    A writer opens its container in `_container` and flushes its encoders in `_flush`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(self.path.name + ".part")
        self._container: OutputContainer | None = None

    def _flush(self, container: OutputContainer) -> None:
        raise NotImplementedError

    def close(self) -> Path:
        """Finish the file and name it. Raises: AvsctlError: If it can't be finished."""
        if self._container is not None:
            self._guarded(self._finish)
        return self.path

    def discard(self) -> None:
        """Give the video up and remove what was written."""
        container, self._container = self._container, None
        if container is not None:
            # a file that failed to be written fails to be finished too; it goes anyway
            with suppress(av.error.FFmpegError, OSError, ValueError):
                container.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self: W) -> W:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is not None:
            self.discard()
        else:
            self.close()

    def _finish(self, container: OutputContainer) -> None:
        self._flush(container)
        self._container = None
        container.close()
        with open(self._part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(self._part, self.path)

    def _guarded(self, step: Callable[[OutputContainer], None]) -> None:
        try:
            if self._container is None:
                raise ValueError(f"{self.path} is closed already")
            step(self._container)
        except (av.error.FFmpegError, OSError) as error:
            self.discard()
            raise AvsctlError(f"writing {self.path} failed ({error}): check the free space") from error


def even_sides(picture: np.ndarray, mode: str) -> np.ndarray:
    """A picture (H, W, C) with even sides, as 4:2:0 needs: padded at the bottom and right as `numpy.pad` does."""
    height, width = picture.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return picture
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode=mode)  # type: ignore[call-overload]
