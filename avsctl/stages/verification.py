"""Checks the content of everything in a workspace that has checksums; changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.integrity import Checked, damaged_clips
from avsctl.caches.priors import PriorCache
from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent
from avsctl.workspace import TASKS, Workspace


def verify(workspace: Workspace, track: Track = silent) -> list[dict[str, Any]]:
    """Read every clip of every cache, and the tables of the checkpoints.

    Returns: one entry per file: `path`, `clips` (how many were checked), `damaged` (uids) and `problem`, a line that
        says what to do, or None where the file is as it was written.
    """
    found = [_cache(path, read, command, track) for path, read, command in _caches(workspace) if path.exists()]
    checkpoints = [path for task in TASKS for path in sorted((workspace.root / "runs" / task).glob("*/*.safetensors"))]
    return found + [_checkpoint(path) for path in checkpoints]


def _caches(workspace: Workspace) -> Iterator[tuple[Path, Callable[[], Checked], Callable[[Any], str]]]:
    clips, audio = workspace.clips, workspace.audio
    yield clips, lambda: ClipCache(clips), _prepare_command
    yield audio, lambda: AudioCache(audio, damaged=True), _audio_command
    for path in sorted((workspace.root / "priors").glob("*.h5")):
        yield path, partial(PriorCache, path), _priors_command


def _cache(path: Path, read: Callable[[], Checked], command: Callable[[Any], str], track: Track) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": str(path), "clips": 0, "damaged": [], "problem": None}
    try:
        cache = read()
    except AvsctlError as error:
        return {**entry, "problem": str(error)}
    uids = [cache.uids[clip] for clip in damaged_clips(cache, track)]
    entry |= {"clips": len(cache), "damaged": uids}
    if uids:
        more = f" and {len(uids) - 3} more" if len(uids) > 3 else ""
        entry["problem"] = (
            f"{path}: {len(uids)} of {len(cache)} clips are damaged ({', '.join(uids[:3])}{more}). "
            f"Make them again with '{command(cache)} --repair'."
        )
    return entry


def _checkpoint(path: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": str(path), "clips": 0, "damaged": [], "problem": None}
    try:
        with safe_open(path, "np"):
            return entry
    except (SafetensorError, OSError) as error:
        again = f"Train it again with 'avsctl train-{path.parent.parent.name} --overwrite'."
        return {**entry, "problem": f"{path} is not readable ({error}). {again}"}


def _prepare_command(cache: ClipCache) -> str:
    return (
        "avsctl prepare folder ROOT" if cache.header["options"].get("layout") == "folder" else "avsctl prepare avsbench"
    )


def _audio_command(cache: AudioCache) -> str:
    encoder, _, pca = cache.encoder.partition("-")
    given = "" if encoder == "logmel" else f" --encoder {encoder} --weights FILE"
    return f"avsctl extract-audio{given}{' --pca FILE' if pca else ''}"


def _priors_command(cache: PriorCache) -> str:
    known = {"predicted": "", "low": " --level low", "high": " --level high", "masks": " --from-masks DIR"}
    miou = f" --miou {cache.origin.removeprefix('miou-')}"
    return f"avsctl predict-priors{known.get(cache.origin, miou)}"
