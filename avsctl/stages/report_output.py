"""Where a report goes: the page whole or not at all, its media in the page or in a folder beside it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from avsctl.caches.files import whole_file
from avsctl.errors import AvsctlError
from avsctl.rendering.report.page import MEDIA_MARK, media_element
from avsctl.stages.report_clips import Media

GENERATOR = '<meta name="generator" content="avsctl report">'
_HEAD = 4096  # bytes of a page that hold its generator and fingerprint


def check_place(out: Path, overwrite: bool) -> None:
    """Refuse to replace what is no report.

    Raises: AvsctlError: If `out` is a folder, or a file that no report wrote and `overwrite` is off.
    """
    if out.is_dir():
        raise AvsctlError(f"{out} is a folder. Give --out a file, such as {out / 'report.html'}.")
    if out.exists() and not overwrite and GENERATOR not in _head(out):
        raise AvsctlError(f"{out} is there and no report. Add --overwrite to replace it, or give another --out.")


def is_same(out: Path, fingerprint: str, media: Media | None, clips: Sequence[int]) -> bool:
    """Whether the very page is there, with all media it needs."""
    head = _head(out) if out.is_file() else ""
    if f'content="{fingerprint}"' not in head:
        return False
    if media is None or f'content="{media.home.name}/{media.plan}/"' not in head:
        return True
    return not media.missing(clips)


def write_page(out: Path, page: str, media: Media | None, clips: Sequence[int]) -> None:
    """Write the page, with the clips' media inside where `media` is given."""
    before, after = page.split(MEDIA_MARK)
    with whole_file(out) as part, part.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write(before)
        if media is not None:
            handle.writelines(media_element(clip, media.files(clip)) for clip in clips)
        handle.write(after)


def remove_media(home: Path, keep: str | None) -> None:
    """Delete the media that no page refers to any more; what is no report's stays."""
    if not home.is_dir():
        return
    for folder in home.iterdir():
        made = folder.is_dir() and any(folder.glob("*/clip.json"))
        if made and folder.name != keep:
            shutil.rmtree(folder)
    with suppress(OSError):
        home.rmdir()  # only if it is empty


def _head(path: Path) -> str:
    with path.open("rb") as handle:
        return handle.read(_HEAD).decode("utf-8", "replace")
