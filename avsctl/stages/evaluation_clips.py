"""Which clips can be scored."""

from __future__ import annotations

from avsctl.caches.clips import ClipCache
from avsctl.errors import AvsctlError


def labelled_clips(clips: ClipCache, split: str, subset: str) -> list[int]:
    """The clips of a split and subset that have a labelled frame, in file order.

    Raises: AvsctlError: If there is none.
    """
    indices = clips.select(split=split, subset=subset)
    labelled = [clip for clip in indices if clips.labelled(clip).any()]
    if not labelled:
        raise AvsctlError(
            f"None of the {len(indices)} clips of subset {subset}, split {split} has a labelled frame: "
            f"nothing can be scored. Choose another --split or --subset ('avsctl status' lists them)."
        )
    return labelled
