"""What every cache says about itself, and the checks made when it is opened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from avsctl import __version__
from avsctl.errors import AvsctlError

FORMAT_VERSION = 1
MAKERS = {
    "clips": "avsctl prepare avsbench",
    "audio": "avsctl extract-audio",
    "priors": "avsctl predict-priors",
}


def write_header(
    file: h5py.File, kind: str, *, fingerprint: str, inputs: Mapping[str, str], options: Mapping[str, Any]
):
    """Describe a cache in its attributes; call `complete` last.

    Args:
        kind: a key of `MAKERS`.
        fingerprint: hash of the per-item hashes of the content.
        inputs: fingerprint of each file that it was made from, by kind.
        options: the options that decided the content.
    """
    file.attrs["format"] = f"avsctl-{kind}"
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["producer"] = f"avsctl {__version__}"
    file.attrs["fingerprint"] = fingerprint
    file.attrs["inputs"] = json.dumps(dict(inputs), sort_keys=True)
    file.attrs["options"] = json.dumps(dict(options), sort_keys=True, default=str)


def mark_complete(file: h5py.File) -> None:
    """Say that everything is written."""
    file.attrs["complete"] = True


def open_cache(path: Path, kind: str) -> h5py.File:
    """Open a finished cache for reading.

    Raises: AvsctlError: If it is missing, damaged, unfinished, of another kind or of a newer format.
    """
    maker = MAKERS[kind]
    if not path.exists():
        raise AvsctlError(f"No {kind} cache at {path}. Run '{maker}' first.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise AvsctlError(
            f"{path} is not a readable HDF5 file ({error}). Make it again with '{maker} --overwrite'."
        ) from None
    found = str(file.attrs.get("format", "no avsctl cache"))
    problem = ""
    if found != f"avsctl-{kind}":
        problem = f"is {found}, not avsctl-{kind}. Give a cache made by '{maker}'."
    elif not file.attrs.get("complete", False):
        problem = f"is unfinished. Make it again with '{maker} --overwrite'."
    elif int(file.attrs.get("format_version", 0)) > FORMAT_VERSION:
        problem = f"has format {file.attrs['format_version']}, newer than this avsctl reads. Upgrade avsctl."
    if problem:
        file.close()
        raise AvsctlError(f"{path} {problem}")
    return file


def header(file: h5py.File) -> dict[str, Any]:
    """Read back what `write_header` wrote, with `inputs` and `options` as dicts."""
    content = {name: file.attrs[name] for name in ("format", "producer", "fingerprint")}
    return {
        **content,
        "inputs": json.loads(file.attrs["inputs"]),
        "options": json.loads(file.attrs["options"]),
    }


def check_made_from(path: Path, made_from: Mapping[str, str], kind: str, fingerprint: str) -> None:
    """Refuse a cache that was made from other data.

    Raises: AvsctlError: If `made_from[kind]` is not `fingerprint`.
    """
    if made_from.get(kind) != fingerprint:
        raise AvsctlError(
            f"{path} was made from another {kind} cache ({made_from.get(kind, 'unknown')}, not {fingerprint}). "
            f"Make it again with --overwrite."
        )
