"""One page on a workspace or on chosen runs: caches, runs and reports in, an HTML file (and its media) out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsctl import __version__
from avsctl.caches.clips import ClipCache
from avsctl.caches.files import hash_of
from avsctl.caches.locks import sole_writer
from avsctl.progress import Track, silent
from avsctl.rendering.report.page import page_assets, render_page
from avsctl.stages.report_clips import Media, make_media, media_plan
from avsctl.stages.report_data import Missing
from avsctl.stages.report_gather import Gathered, ReportConfig, gather
from avsctl.stages.report_output import check_place, is_same, remove_media, write_page
from avsctl.stages.report_view import clip_data, page_view
from avsctl.workspace import Workspace

EMBED_BYTES = 8_000_000
"""Media up to this size go into the page."""


@dataclass(frozen=True)
class Made:
    """A page that was written.

    Attributes:
        media: the folder beside it, None where the media are inside.
        clips, of: how many clips it shows, and how many the split has.
        bytes: size of the page.
        fresh: False where the same page was there already.
    """

    page: Path
    media: Path | None
    clips: int
    of: int
    missing: list[Missing]
    problems: list[str]
    bytes: int
    fresh: bool


def report(workspace: Workspace, config: ReportConfig, *, overwrite: bool = False, track: Track = silent) -> Made:
    """Write a page that shows, and lets one hear, what the runs do; what is missing it names with the command to run.

    Media go into the page where they are at most `EMBED_BYTES`, else into `<stem>-media` beside it. A stopped report
    goes on where it was; the same report is not made twice.

    Raises: AvsctlError: If there is nothing to report, a named run or prior is missing, or another file is in the way.
    """
    out = config.out or workspace.root / "report.html"
    check_place(out, overwrite)
    found = gather(workspace, config)
    with sole_writer(out):
        return _make(found, out, track)


def _make(found: Gathered, out: Path, track: Track) -> Made:
    media, clips = None, found.caches.clips
    if clips is not None and found.chosen:
        plan = media_plan(clips, found.caches.audio, found.panels, found.config.precision)
        media = Media(out.with_name(f"{out.stem}-media"), plan)
    view = page_view(found)
    fingerprint = _fingerprint(found, view, media)
    fresh = not is_same(out, fingerprint, media, list(found.chosen))
    if fresh:
        facts = _media_facts(found, clips, media, track) if clips is not None and media is not None else {}
        _write(found, view, fingerprint, media, facts, out)
    beside = media.home if media is not None and media.folder.is_dir() else None
    size = out.stat().st_size
    return Made(out, beside, len(found.chosen), found.of, found.missing, found.problems, size, fresh)


def _media_facts(found: Gathered, clips: ClipCache, media: Media, track: Track) -> dict[int, dict[str, Any]]:
    """Make the media that are missing; gives what is known of each clip."""
    todo, config = media.missing(list(found.chosen)), found.config
    making = make_media(
        media, clips, found.caches.audio, found.panels, todo, device=config.device, precision=config.precision
    )
    for _ in track(making, "clips", len(todo)):
        pass
    return {clip: media.facts(clip) for clip in found.chosen}


def _write(
    found: Gathered,
    view: Mapping[str, Any],
    fingerprint: str,
    media: Media | None,
    facts: Mapping[int, Mapping[str, Any]],
    out: Path,
) -> None:
    size = sum(sum(entry["files"].values()) for entry in facts.values())
    inside = media is None or found.config.single_file or size <= EMBED_BYTES
    place = "" if media is None or inside else f"{media.home.name}/{media.plan}/"
    page = render_page({**view, "fingerprint": fingerprint, "media": place}, clip_data(found, facts, place or None))
    write_page(out, page, media if inside else None, found.worst_first())
    # Only now does nothing refer to the media of the page before.
    remove_media(out.with_name(f"{out.stem}-media"), keep=None if media is None or inside else media.plan)


def _fingerprint(found: Gathered, view: Mapping[str, Any], media: Media | None) -> str:
    """A hash of all that the page shows and how."""
    content: dict[str, Any] = {
        "avsctl": __version__,
        "assets": page_assets(),
        "view": view,
        "data": clip_data(found, {}, None),
        "media": media and media.plan,
        "inside": found.config.single_file,
    }
    return hash_of(json.dumps(content, sort_keys=True, default=str))
