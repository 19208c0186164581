"""How this process holds its memory."""

from __future__ import annotations

import ctypes
import sys

KEPT = 128 * 2**20
"""Bytes that stay with a process after they were freed."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD (malloc.h)."""
_LARGEST_MMAP_THRESHOLD = 32 * 2**20


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next picture or array instead of giving it back to the system each time.

    Who decodes pictures one after the other spends a tenth of the time on getting the same pages anew. Does nothing
    where the C library is another one.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_TRIM_THRESHOLD, KEPT)
