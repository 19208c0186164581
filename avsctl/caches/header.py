"""What every cache says about itself, and the checks made when it is opened."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from avsctl import __version__
from avsctl.caches.contents import check_contents
from avsctl.errors import AvsctlError

FORMAT_VERSION = 1
MAKERS = {
    "clips": "avsctl prepare avsbench",
    "audio": "avsctl extract-audio",
    "priors": "avsctl predict-priors",
    "features": "avsctl train-avs --cache-features",
}


def new_cache(path: Path, groups: Sequence[str]) -> h5py.File:
    """Create an HDF5 file with empty groups, whose own metadata carries checksums (format 1.10).

    Without checksums a few flipped bytes can send the HDF5 library round in circles when the file is opened.
    """
    file = h5py.File(path, "w", libver=("v110", "v110"))
    for name in groups:
        # A group that comes into being with its first dataset would carry the time, and no two files be equal.
        file.create_group(name)
    return file


def set_text(file: h5py.File, name: str, text: str) -> None:
    """Store an attribute as bytes of fixed length: variable-length text lies in a heap without a checksum."""
    file.attrs[name] = np.bytes_(text.encode())


def get_text(file: h5py.File, name: str) -> str:
    """Read an attribute that `set_text`, or another program, wrote."""
    value = file.attrs[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def write_header(
    file: h5py.File, kind: str, *, fingerprint: str, inputs: Mapping[str, str], options: Mapping[str, Any]
) -> None:
    """Describe a cache in its attributes; call `mark_complete` last.

    Args:
        kind: a key of `MAKERS`.
        fingerprint: hash of the per-item hashes of the content.
        inputs: fingerprint of each file that it was made from, by kind.
        options: the options that decided the content.
    """
    set_text(file, "format", f"avsctl-{kind}")
    file.attrs["format_version"] = FORMAT_VERSION
    set_text(file, "producer", f"avsctl {__version__}")
    set_text(file, "fingerprint", fingerprint)
    set_text(file, "inputs", json.dumps(dict(inputs), sort_keys=True))
    set_text(file, "options", json.dumps(dict(options), sort_keys=True, default=str))


def mark_complete(file: h5py.File) -> None:
    """Say that everything is written."""
    file.attrs["complete"] = True


def open_cache(path: Path, kind: str) -> h5py.File:
    """Open a finished cache for reading.

    Raises: AvsctlError: If it is missing, damaged, unfinished, of another kind or of a newer format, or if it leads to
        other files, see `contents`.
    """
    maker = MAKERS[kind]
    if not path.exists():
        raise AvsctlError(f"No {kind} cache at {path}. Run '{maker}' first.")
    if not path.is_file():  # a pipe would be waited for
        raise AvsctlError(f"{path} is no file. Give a cache made by '{maker}'.")
    with readable(path, kind):
        file = h5py.File(path, "r")
        try:
            found = get_text(file, "format") if "format" in file.attrs else "no avsctl cache"
            complete = bool(file.attrs.get("complete", False))
            version = int(file.attrs.get("format_version", 0))
            check_contents(file)
        except BaseException:
            file.close()
            raise
    problem = ""
    if found != f"avsctl-{kind}":
        problem = f"is {found}, not avsctl-{kind}. Give a cache made by '{maker}'."
    elif not complete:
        problem = f"is unfinished. Make it again with '{maker} --overwrite'."
    elif version > FORMAT_VERSION:
        problem = f"has format {version}, newer than this avsctl reads. Upgrade avsctl."
    if problem:
        file.close()
        raise AvsctlError(f"{path} {problem}")
    return file


def reopen_cache(path: Path, kind: str, fingerprint: str) -> h5py.File:
    """Open a finished cache again for its content, whose index was read before.

    Raises: AvsctlError: As `open_cache`, and if another cache has taken its place since.
    """
    file = open_cache(path, kind)
    if get_text(file, "fingerprint") != fingerprint:
        file.close()
        raise AvsctlError(f"{path} was replaced while this command was reading it. Run the same command again.")
    return file


@contextmanager
def readable(path: Path, kind: str) -> Iterator[None]:
    """Turn what HDF5 and the parsers say of a damaged file into one clear line.

    Raises: AvsctlError: If the block fails on the file's content.
    """
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        reason = str(error).strip("'")
        raise AvsctlError(
            f"{path} is not a readable {kind} cache ({reason}). Make it again with '{MAKERS[kind]} --overwrite'."
        ) from None


def header(file: h5py.File) -> dict[str, Any]:
    """Read back what `write_header` wrote, with `inputs` and `options` as dicts."""
    content = {name: get_text(file, name) for name in ("format", "producer", "fingerprint")}
    for name in ("inputs", "options"):
        content[name] = json.loads(get_text(file, name))
        if not isinstance(content[name], dict):
            raise ValueError(f"its {name} are no table")
    return content


def check_made_from(path: Path, made_from: Mapping[str, str], kind: str, fingerprint: str) -> None:
    """Refuse a cache that was made from other data.

    Raises: AvsctlError: If `made_from[kind]` is not `fingerprint`.
    """
    if made_from.get(kind) != fingerprint:
        raise AvsctlError(
            f"{path} was made from another {kind} cache ({made_from.get(kind, 'unknown')}, not {fingerprint}). "
            f"Make it again with --overwrite."
        )
