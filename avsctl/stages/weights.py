"""The released weights that are known by name: which there are, and fetching them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent
from avsctl_models.weights import hub
from avsctl_models.weights.download import download
from avsctl_models.weights.released import Released, fetched, find_released, released, weights_folder


def list_weights(folder: Path | None = None) -> list[dict[str, Any]]:
    """Describe all released weights that avsctl reads.

    Args:
        folder: where fetched weights lie; None for $AVSCTL_WEIGHTS or the user's cache folder.
    Returns: of each its fields in `Released`, and `path`, where it lies on this machine, or None.
    """
    return [{**asdict(entry), "path": _text(fetched(entry, folder))} for entry in released().values()]


def fetch_weights(name: str, folder: Path | None = None, *, overwrite: bool = False, track: Track = silent) -> Path:
    """Download released weights; a second call goes on where the first one stopped.

    Args:
        name: one of `list_weights()`.
        folder: where fetched weights lie; None for $AVSCTL_WEIGHTS or the user's cache folder. They go into a folder
            of their name in it.
        overwrite: fetch them again where they are there already.
    Returns: the file, or the folder of a hub's repository.
    Raises: AvsctlError: If the name is unknown, the weights can only be had with a browser, or they can't be fetched.
    """
    home = weights_folder() if folder is None else folder
    try:
        entry = find_released(name)
        found = fetched(entry, home)
        if found is not None and not overwrite:
            return found
        return _fetch(entry, home / name, track)
    except ValueError as error:
        raise AvsctlError(f"{error}.") from None


def _fetch(entry: Released, home: Path, track: Track) -> Path:
    if entry.page:
        raise ValueError(f"{entry.name} can be had with a browser only: open {entry.page} and put the file into {home}")
    if entry.hub:
        return _fetch_repository(entry, home)

    def watch(chunks: Iterable[bytes], name: str, total: int | None) -> Iterable[bytes]:
        return track(chunks, f"{name}, MiB", total)

    return download(entry.url, home / entry.filename, sha256=entry.sha256, watch=watch)


def _fetch_repository(entry: Released, home: Path) -> Path:
    existed = home.exists()
    try:
        return hub.download(f"hf://{entry.hub}", home)
    except ValueError as error:
        if not existed:
            shutil.rmtree(home, ignore_errors=True)
        raise ValueError(f"{error}, or put its files into {home}") from None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
