"""One writer at a time for each file and folder of a workspace.

Readers need no lock: files appear whole, by a rename.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import json
import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from avsctl.errors import AvsctlError

_held: set[Path] = set()
"""Locks of this process, which the system would give to it a second time."""


@contextmanager
def sole_writer(target: Path, *, also: Sequence[Path] = (), wait: bool = False) -> Iterator[None]:
    """Be the only process that writes `target`, a file or a folder, inside the block.

    `.NAME.lock` beside it names the process, host and command that hold it. The system frees the lock when its
    process ends, however it ends. On a file system without locks, one whose process has ended on this host counts as
    free. What a killed process left half written of `target` is removed first.

    Args:
        also: files that are written with it, whose leavings are removed, too.
        wait: for a holder that will soon be done, instead of refusing.
    Raises: AvsctlError: If another process, or this one already, is writing it; the message names the holder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.resolve().with_name(f".{target.name}.lock")
    handle = _acquire(path, target, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    _held.add(path)
    try:
        for written in (target, *also):
            _remove_leavings(written)
        yield
    finally:
        _held.discard(path)
        path.unlink(missing_ok=True)
        handle.close()


def _acquire(path: Path, target: Path, how: int) -> TextIO:
    while True:
        if path in _held:
            raise _busy(target, _this_process(), path)
        handle = path.open("a+", encoding="utf-8")
        try:
            # Record locks are not inherited by forked workers, which may outlive a killed parent for a moment.
            fcntl.lockf(handle, how)
        except OSError as error:
            holder = _read_holder(handle)
            if error.errno in (errno.EACCES, errno.EAGAIN) or _may_be_alive(holder):
                handle.close()
                raise _busy(target, holder, path) from None
        if _is_current(handle, path):
            handle.seek(0)
            handle.truncate()
            json.dump(_this_process(), handle)
            handle.flush()
            return handle
        handle.close()  # its holder removed it in the moment between


def _is_current(handle: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _this_process() -> dict[str, Any]:
    command = shlex.join(["avsctl", *sys.argv[1:]])
    return {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": time.strftime("%H:%M:%S")}


def _read_holder(handle: TextIO) -> dict[str, Any] | None:
    handle.seek(0)
    with suppress(ValueError):
        found = json.load(handle)
        if isinstance(found, dict) and {"pid", "host", "command", "since"} <= set(found):
            return found
    return None


def _may_be_alive(holder: dict[str, Any] | None) -> bool:
    if holder is None:
        return False
    if holder["host"] != socket.gethostname():
        return True
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _busy(target: Path, holder: dict[str, Any] | None, path: Path) -> AvsctlError:
    if holder is None:
        return AvsctlError(f"{target} is being written by another process. Wait until it has ended.")
    return AvsctlError(
        f"{target} is being written by process {holder['pid']} on {holder['host']} ('{holder['command']}', since "
        f"{holder['since']}). Wait until it has ended, or stop it; if it is gone for certain, delete {path}."
    )


def _remove_leavings(target: Path) -> None:
    """Remove temporary files and folders of `target`, and those in it: their process was killed."""
    name = glob.escape(target.name)
    found = [path for pattern in (f"{name}.*.part", f".{name}.*.part") for path in target.parent.glob(pattern)]
    found += target.glob("*.part") if target.is_dir() else []
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
