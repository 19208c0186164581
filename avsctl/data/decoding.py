"""Frames and labels of `clips.h5`, decoded; one that can't be is named by its clip and second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from avsctl.caches.clips import ClipCache
from avsctl.data.augment import View
from avsctl.data.labels import read_label
from avsctl.errors import AvsctlError
from avsctl.pictures import open_picture


def decode_frame(clips: ClipCache, clip: int, second: int, data: bytes) -> Image.Image:
    """A frame as an RGB picture.

    Raises: AvsctlError: If it is broken or has too many pixels.
    """
    try:
        picture = open_picture(data)
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    except ValueError as error:
        raise _refused(clips, clip, second, "frame", error) from None


def decode_frames(clips: ClipCache, clip: int) -> list[np.ndarray]:
    """All frames of a clip, (H, W, 3) uint8. Raises: AvsctlError: As `decode_frame`."""
    return [np.asarray(decode_frame(clips, clip, t, data)) for t, data in enumerate(clips.frame_bytes(clip))]


def resized_frames(
    clips: ClipCache, clip: int, files: Sequence[bytes], seconds: Sequence[int], side: int, view: View
) -> np.ndarray:
    """Some frames of a clip at a model's size, (len(seconds), 3, side, side) uint8.

    Args:
        files: all of the clip's pictures.
    Raises: AvsctlError: As `decode_frame`.
    """
    seen = {t: view.frame(decode_frame(clips, clip, t, files[t]), side) for t in sorted(set(seconds))}
    return np.ascontiguousarray(np.stack([seen[t] for t in seconds]).transpose(0, 3, 1, 2))


def decode_label(clips: ClipCache, clip: int, second: int, data: bytes) -> np.ndarray:
    """A label as (H, W) uint8 class indices.

    Raises: AvsctlError: If it is broken, or holds what is no class of these clips.
    """
    try:
        return read_label(data, len(clips.classes))
    except ValueError as error:
        raise _refused(clips, clip, second, "label", error) from None


def decode_labels(clips: ClipCache, clip: int, files: Sequence[bytes] | None = None) -> list[np.ndarray | None]:
    """All labels of a clip, None where a frame has none.

    Args:
        files: the clip's index pictures; None takes those of the cache.
    Raises: AvsctlError: As `decode_label`.
    """
    stored = enumerate(clips.label_bytes(clip) if files is None else files)
    return [decode_label(clips, clip, second, data) if data else None for second, data in stored]


def _refused(clips: ClipCache, clip: int, second: int, kind: str, error: ValueError) -> AvsctlError:
    return AvsctlError(
        f"{clips.path}: the {kind} of clip {clips.uids[clip]}, second {second}, {error}. "
        f"Make it again with 'avsctl prepare avsbench --overwrite', or from the dataset it was made of."
    )
