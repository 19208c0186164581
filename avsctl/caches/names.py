"""Names out of files that become names of files and folders, and may lead nowhere else."""

from __future__ import annotations

from typing import Any

from avsctl.caches.files import hash_of

LONGEST = 200
"""Bytes of a name: file systems take 255, and endings are put behind it."""
_SEPARATORS = frozenset("/\\:")


def plain_name(value: Any) -> bool:
    """Whether a name is one file's or folder's name, which cannot lead out of the folder that holds it.

    It has no separator, drive letter, or character that isn't printed (a NUL, a line end, a terminal's command), is
    not "." or "..", and short enough for a file system.
    """
    if not isinstance(value, str) or value.strip() in ("", ".", ".."):
        return False
    return value.isprintable() and not _SEPARATORS & set(value) and len(value.encode()) <= LONGEST


def visible(text: str) -> str:
    """A text as it may go to a terminal: what is not printed, such as a terminal's commands, is spelt out."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def fit_name(value: str) -> str:
    """A plain name that looks like `value`."""
    fitted = "".join(letter if letter.isprintable() and letter not in _SEPARATORS else "_" for letter in value)
    if len(fitted.encode()) > LONGEST:  # the hash tells it from others that begin alike
        fitted = f"{fitted.encode()[: LONGEST - 20].decode(errors='ignore')}-{hash_of(fitted)}"
    return fitted if plain_name(fitted) else f"_{fitted.strip()}"
