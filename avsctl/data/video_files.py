"""Which videos are meant by paths, folders and patterns, and what their results are called."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avsctl.caches.names import fit_name
from avsctl.errors import AvsctlError

VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm",
    ".wmv",
)  # fmt: skip
"""Endings by which videos in a folder are known; a file that is named itself may have any."""


@dataclass(frozen=True)
class Failure:
    """A video of several that could not be used, and why."""

    path: Path
    reason: str

    @classmethod
    def of(cls, path: Path, error: AvsctlError | OSError) -> Failure:
        """What an error says of a video."""
        if isinstance(error, OSError) and error.strerror:
            return cls(path, f"{error.filename or path}: {error.strerror}")
        return cls(path, str(error))


def find_videos(given: Sequence[Path | str]) -> list[Path]:
    """The videos that files, folders and patterns such as `videos/*.mp4` mean, each once, in the order given.

    Of a folder its videos are taken, by name, without those of its subfolders and hidden ones. A file that is named
    is taken whatever it is, so that a missing or broken one can be reported.

    Raises: AvsctlError: If a folder or a pattern has no video.
    """
    found: dict[Path, Path] = {}
    for item in given:
        for path in _meant(Path(item)):
            found.setdefault(Path(os.path.realpath(path)), path)  # links in a circle are an error of `resolve`
    return list(found.values())


def _meant(path: Path) -> list[Path]:
    if path.is_dir():
        videos = sorted(one for one in path.iterdir() if _is_video(one))
        if not videos:
            raise AvsctlError(f"{path} is a folder without videos ({', '.join(VIDEO_SUFFIXES)}). Name another one.")
        return videos
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    matches = sorted(Path(match) for match in glob.glob(str(path)) if not Path(match).is_dir())
    if not matches:
        raise AvsctlError(f"No file fits the pattern {path}. Check the folder and the ending.")
    return matches


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()


def result_names(videos: Iterable[Path]) -> dict[Path, str]:
    """A different name for the results of each video: its stem; where two share it their file names, then their paths.

    Names are fit for a file: separators and control characters in them become `_`.
    """
    names = {video: video.stem for video in videos}
    for longer in (_file_name, _whole_path):
        names = _told_apart(names, longer)
    return names


def _told_apart(names: dict[Path, str], longer: Callable[[Path], str]) -> dict[Path, str]:
    shared = Counter(name.casefold() for name in names.values())
    return {video: longer(video) if shared[name.casefold()] > 1 else fit_name(name) for video, name in names.items()}


def _file_name(video: Path) -> str:
    return fit_name(video.name.replace(".", "_"))


def _whole_path(video: Path) -> str:
    return fit_name("_".join(video.with_suffix("").parts[-2:]) + video.suffix.replace(".", "_"))
