"""Whether a long write will fit on its disk, and what to say when it did not."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from avsctl.errors import AvsctlError


def check_space(folder: Path, needed: int, what: str) -> None:
    """Refuse a write that can't fit, before any work is done.

    Args:
        folder: where the bytes will lie; it need not exist yet.
        needed: bytes, rather too few than too many.
        what: that is written, for the message.
    Raises: AvsctlError: If less is free, with both numbers.
    """
    place = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise AvsctlError(
            f"{what} needs about {readable_bytes(needed)} in {folder}, but {readable_bytes(free)} are free there. "
            f"Make room, or give a place on another disk."
        )


def readable_bytes(count: int) -> str:
    """A number of bytes with its unit: `4.3 GB`."""
    power = min(max(len(str(count)) - 1, 0) // 3, 4)
    return f"{count / 1000**power:.{min(power, 1)}f} {('B', 'KB', 'MB', 'GB', 'TB')[power]}"


def is_full_disk(error: BaseException) -> bool:
    """Whether an error says that the disk, or a quota on it, is full; HDF5 and safetensors say so in words only."""
    words = ("No space left on device", "Disk quota exceeded")
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(word in str(error) for word in words)
