"""Which clips can be scored, and which can be learnt from."""

from __future__ import annotations

import logging

from avsctl.caches.clips import ClipCache
from avsctl.errors import AvsctlError

log = logging.getLogger(__name__)


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


def clips_to_learn_from(clips: ClipCache, subset: str) -> dict[str, list[int]]:
    """The clips with a labelled frame of the splits `train` and `val`, in file order; others are left out.

    Raises: AvsctlError: If a split has none.
    """
    chosen = {}
    for split in ("train", "val"):
        indices = clips.select(split=split, subset=subset)
        chosen[split] = [clip for clip in indices if clips.labelled(clip).any()]
        without = len(indices) - len(chosen[split])
        if not chosen[split]:
            raise AvsctlError(
                f"No labelled frame in the {without} clips of subset {subset}, split {split}: training needs labels in "
                f"train and val. Add masks and read them with 'avsctl prepare folder --overwrite'."
            )
        if without:
            log.info("%d of %d clips of split %s have no labelled frame and are left out", without, len(indices), split)
    return chosen
