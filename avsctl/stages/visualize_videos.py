"""Many videos in, each drawn by the same models; broken ones don't stop the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avsctl.data.video_files import Failure, find_videos, result_names
from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent
from avsctl.stages.visualize_options import VideoOptions
from avsctl.stages.visualize_output import Drawn
from avsctl.stages.visualize_video import Studio, UnusableModels
from avsctl.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass
class Gallery:
    """What became of several videos, each in the order given."""

    drawn: list[Drawn] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def visualize_videos(
    workspace: Workspace,
    given: Sequence[Path],
    *,
    out: Path | None = None,
    overwrite: bool = False,
    track: Track = silent,
    done: Callable[[Drawn], None] = lambda result: None,
    **options: Any,
) -> Gallery:
    """Draw what sounds over videos, see `visualize_video`.

    Args:
        given: files, folders and patterns, see `find_videos`.
        out, overwrite, options: as for `visualize_video`.
        done: called with each result as it comes.
    Returns: the results, and which videos could not be drawn and why.
    Raises: AvsctlError: If the models can't be used or an option doesn't fit: nothing is drawn then.
    """
    names = result_names(find_videos(given))
    studio = Studio(workspace, VideoOptions(**options))
    gallery = Gallery()
    for number, (video, name) in enumerate(names.items(), start=1):
        if len(names) > 1:
            log.info("%d/%d %s", number, len(names), video)
        try:
            result = studio.draw(video, name, out=out, overwrite=overwrite, track=track)
        except UnusableModels:
            raise
        except (AvsctlError, OSError) as error:
            gallery.failed.append(Failure.of(video, error))
            continue
        gallery.drawn.append(result)
        done(result)
    return gallery

