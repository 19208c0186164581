"""`prepare` on all cores, against one."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from avsctl.bench.clips import draw_clips, repeat_clips
from avsctl.bench.harness import Result, Settings, in_turn, require_equal
from avsctl.caches.clips import ClipCache
from avsctl.data.layouts import open_dataset
from avsctl.data.workers import cores
from avsctl.stages.prepare import prepare

SHARE_OF_CORES = 0.9
SIZE = (1280, 720)


def run(settings: Settings) -> list[Result]:
    """Time the reading of 720p clips with as many processes as cores, and with one."""
    count = 60 if settings.quick else 200
    root = repeat_clips(draw_clips(settings.scratch / "drawn", 4, SIZE), settings.scratch / "clips", count)
    ours = partial(_prepare, root, settings.scratch / "all.h5", cores())
    peer = partial(_prepare, root, settings.scratch / "one.h5", 1)
    require_equal(ClipCache(ours()).fingerprint == ClipCache(peer()).fingerprint, "the clips that were read")
    ours_s, peer_s = in_turn(ours, peer, settings.rounds(3, 1))
    return [
        Result(
            name="prepare-scaling",
            ours_s=ours_s,
            peer_s=peer_s,
            target=SHARE_OF_CORES * cores() if cores() > 1 else None,
            unit="clips",
            count=count,
            peer="one process",
            checked=f"the same {count} clips by their hashes",
            details={"processes": cores(), "of_linear": peer_s / ours_s / cores()},
        )
    ]


def _prepare(root: Path, out: Path, workers: int) -> Path:
    return prepare(open_dataset(root), out, workers=workers, overwrite=True)
