"""Frames and labels decoded once at a model's size, so that reading takes neither a picture's decoder nor a resize."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsctl.caches.clips import ClipCache, assemble_clips
from avsctl.caches.decoded import PARTS
from avsctl.caches.locks import sole_writer
from avsctl.caches.shards import Shards, making, remove_leftovers
from avsctl.caches.space import check_space, readable_bytes
from avsctl.configs import LABEL_SIZE
from avsctl.data.augment import View
from avsctl.data.decoding import decode_labels, resized_frames
from avsctl.data.labels import UNLABELLED, binary_label, semantic_label
from avsctl.data.workers import spread
from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent

log = logging.getLogger(__name__)

_Item = dict[str, np.ndarray]


def is_decoded(path: Path, side: int) -> bool:
    """Whether there is a readable `clips.h5` with frames decoded at this size."""
    try:
        return path.exists() and ClipCache(path).decoded_side == side
    except AvsctlError:
        return False


def check_room(out: Path, frames: int, side: int) -> None:
    """Say what decoded frames will take, and refuse what the disk can't hold.

    Raises: AvsctlError: If it has not twice their size free: they are put together from pieces.
    """
    size = frames * 3 * side * side
    about = f"{frames:,} frames decoded at {side}x{side}"
    log.info("%s will hold %s: %s, and as much again while they are made", out, about, readable_bytes(size))
    check_space(out.parent, 2 * size, f"{out.name} with {about}")


def cache_frames(path: Path, side: int, *, workers: int | None = None, track: Track = silent) -> Path:
    """Write `clips.h5` again with all frames and labels decoded; its fingerprint and all else stay the same.

    A rerun after a stop decodes only what is missing; nothing is done where the frames are there in this size.

    Args:
        side: of the decoded frames, as the model's `image_size`. Those of another size are replaced.
        workers: processes, None for one per core.
    Returns: `path`.
    Raises: AvsctlError: If a frame can't be decoded, or the disk can't hold them.
    """
    clips = ClipCache(path)
    pieces = path.with_name(f"{path.name}.frames")
    if clips.decoded_side == side:
        remove_leftovers(pieces)
        return path
    size = int(clips.first_frame[-1]) * 3 * side * side
    with (
        sole_writer(path),
        making(
            pieces,
            {"clips": clips.fingerprint, "side": side},
            len(clips),
            item_bytes=size / len(clips),
            final_share=1 + path.stat().st_size / size,
        ) as shards,
    ):
        missing = shards.missing()
        for _ in track(spread(_Decoding(clips, side, shards), missing, workers), "decoding frames", len(missing)):
            pass
        return assemble_clips(
            path,
            lambda: track(_with_frames(clips, shards), f"writing {path.name}", len(clips)),
            classes=clips.classes,
            palette=clips.palette,
            label_kind=clips.label_kind,
            options=clips.header["options"],
        )


def decoded(clips: ClipCache, clip: int, frames: Sequence[bytes], labels: Sequence[bytes], side: int) -> _Item:
    """A clip's frames and labels as a model without augmentation sees them, as `assemble_clips` takes them.

    Args:
        frames, labels: the clip's pictures, which need not be those of the cache.
        side: of the decoded frames; labels get `LABEL_SIZE`.
    Raises: AvsctlError: If one can't be decoded.
    """
    indices = decode_labels(clips, clip, labels)
    none = np.full((LABEL_SIZE,) * 2, UNLABELLED, np.uint8)
    classes = [none if index is None else semantic_label(index, LABEL_SIZE) for index in indices]
    sounding = [none if index is None else binary_label(index, LABEL_SIZE, palette=clips.palette) for index in indices]
    resized = resized_frames(clips, clip, frames, range(len(frames)), side, View())
    return dict(zip(PARTS, (resized, np.stack(classes), np.stack(sounding)), strict=True))


@dataclass(frozen=True)
class _Decoding:
    """Decodes the clips of one shard; what a worker process holds."""

    clips: ClipCache
    side: int
    shards: Shards

    def __call__(self, shard: int) -> int:
        self.shards.write(shard, [self.item(clip) for clip in self.shards.range(shard)])
        return shard

    def item(self, clip: int) -> _Item:
        return decoded(self.clips, clip, self.clips.frame_bytes(clip), self.clips.label_bytes(clip), self.side)


def _with_frames(clips: ClipCache, shards: Shards) -> Iterator[_Item]:
    for clip, piece in enumerate(shards.read()):
        yield {**clips.item(clip), **piece}
