"""Files that are whole or not there: written beside their place, synced, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from avsctl.caches.space import is_full_disk
from avsctl.errors import AvsctlError
from avsctl.limits import MAX_TEXT


@contextmanager
def whole_file(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it into place when the block ends without an error.

    Raises: AvsctlError: If `path` exists and `overwrite` is off, or the disk is full.
    """
    if path.exists() and not overwrite:
        raise AvsctlError(f"{path} exists already. Add --overwrite to replace it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(part, path)
    except Exception as error:
        if isinstance(error, AvsctlError) or not is_full_disk(error):
            raise
        raise AvsctlError(
            f"The disk is full: {path} could not be written. What was finished is kept: make room, then run the same "
            f"command again."
        ) from None
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Any) -> Path:
    """Write JSON with sorted keys, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    return path


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises: AvsctlError: If the file is missing or is not JSON.
    """
    try:
        return parse_json(read_regular(path, MAX_TEXT))
    except FileNotFoundError:
        raise AvsctlError(f"{path} does not exist.") from None
    except ValueError as error:
        raise AvsctlError(f"{path} is not readable JSON ({error}). Restore the file or delete it.") from None


def parse_json(data: bytes | str) -> Any:
    """Parse JSON as the standard has it: finite numbers only.

    Raises: ValueError: If it is none, nests too deep, or is not UTF-8.
    """
    try:
        return json.loads(data if isinstance(data, str) else data.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it nests too deep") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def read_regular(path: Path, limit: int) -> bytes:
    """The bytes of a file that is one: no pipe or device, which may have no end.

    Args:
        limit: bytes above which it is not read.
    Raises: OSError: If it is missing, unreadable, too large, or of another kind.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    if status.st_size > limit:
        raise OSError(errno.EFBIG, f"Larger than {limit:,} bytes, the limit", str(path))
    return path.read_bytes()


def hash_of(*parts: bytes | str) -> str:
    """The first 16 hexadecimal digits of a SHA-256 over length-prefixed parts."""
    return hash_of_all(parts)


def hash_of_all(parts: Iterable[bytes | str]) -> str:
    """`hash_of` many parts that need not be in memory together."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:16]


def hash_of_file(path: Path) -> str:
    """`hash_of` a file's content, which is never in memory as a whole."""
    with path.open("rb") as handle:
        digest = hashlib.sha256(os.fstat(handle.fileno()).st_size.to_bytes(8, "little"))
        return _digits(digest, handle)


def sha256_of_file(path: Path) -> str:
    """The first 16 hexadecimal digits of a file's SHA-256."""
    with path.open("rb") as handle:
        return _digits(hashlib.sha256(), handle)


def _digits(digest: Any, handle: BinaryIO) -> str:
    while block := handle.read(2**20):
        digest.update(block)
    return digest.hexdigest()[:16]
