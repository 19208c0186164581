"""Where `visualize` puts its files: all of them or none, and never over others unasked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsctl.caches.files import read_json, sha256_of_file, sync_folder
from avsctl.caches.locks import sole_writer
from avsctl.errors import AvsctlError
from avsctl.stages.visualize_models import Checkpoint


@dataclass(frozen=True)
class Drawn:
    """What `visualize` wrote.

    Args:
        record: the JSON that was written last, and its content.
        files: everything, the JSON among it.
        summary: one line on what sounded.
        fresh: False where an earlier run had done the same already.
    """

    record: Path
    content: dict[str, Any]
    files: list[Path]
    summary: str
    fresh: bool


def describe(checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    """A checkpoint as the JSON names it.

    Raises: AvsctlError: If its file is missing.
    """
    if checkpoint is None:
        return None
    if not checkpoint.path.is_file():
        raise AvsctlError(f"No checkpoint at {checkpoint.path}. Make one with 'avsctl train-{checkpoint.task}'.")
    return {"name": checkpoint.name, "path": str(checkpoint.path), "sha256": sha256_of_file(checkpoint.path)}


def finished(record: Path, fingerprint: str, outputs: Sequence[Path], overwrite: bool) -> dict[str, Any] | None:
    """The record of an earlier run of the very same work, None if there is work to do.

    Args:
        record: the JSON that is written last.
        outputs: what the work would replace.
    Raises: AvsctlError: If there is something else and `overwrite` is off.
    """
    ready = _ready_folder(record.parent, record.stem)
    if ready.exists():
        with sole_writer(record.with_suffix("")):
            _move(ready)
    there = [path for path in outputs if path.exists()]
    if overwrite or not there:
        return None
    if record.is_file():
        with suppress(AvsctlError):
            found = read_json(record)
            if isinstance(found, dict) and found.get("fingerprint") == fingerprint and _all_there(record.parent, found):
                return found
    raise AvsctlError(
        f"{there[0]} is there already, of another video, checkpoint or option. "
        f"Add --overwrite to replace it, or give another --out."
    )


def _all_there(folder: Path, record: dict[str, Any]) -> bool:
    return all((folder / name).exists() for name in record["outputs"])


@contextmanager
def whole_outputs(out: Path, name: str, old: Sequence[Path]) -> Iterator[Path]:
    """Give a hidden folder in `out`; move what lies in it to `out` when the block ends without an error.

    Args:
        out: made if it is missing, and removed again if the block fails.
        name: of the work, for the hidden folder.
        old: files and folders to remove just before. A JSON is moved last: it says that all is there.
    Raises: AvsctlError: If another process is doing this very work.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        with sole_writer(out / name), _hidden_folder(out, name) as hidden:
            yield hidden
            for path in old:
                _remove(path)
            made = []
            ready = _ready_folder(out, name)
            os.replace(hidden, ready)
            _move(ready)
    finally:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def _ready_folder(out: Path, name: str) -> Path:
    """Where whole results lie in the moment before they are in their places."""
    return out / f".{name}.ready"


def _move(ready: Path) -> None:
    """Put whole results into their places; a run that was killed between two of them is finished by the next."""
    for path in sorted(ready.iterdir(), key=lambda path: (path.suffix == ".json", path.name)):
        os.replace(path, ready.parent / path.name)
    ready.rmdir()
    sync_folder(ready.parent)


@contextmanager
def _hidden_folder(out: Path, name: str) -> Iterator[Path]:
    hidden = out / f".{name}.{os.getpid()}.part"
    hidden.mkdir()
    try:
        yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
