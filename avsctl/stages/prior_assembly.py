"""What every way of making a prior cache shares: its items, the accuracy it records, and when it is up to date."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from avsctl.caches.clips import SPLITS, ClipCache
from avsctl.caches.integrity import find_damage, mended
from avsctl.caches.locks import sole_writer
from avsctl.caches.priors import PriorCache, assemble_priors
from avsctl.caches.shards import Shards, making, remove_leftovers
from avsctl.caches.space import check_space
from avsctl.errors import AvsctlError
from avsctl.metrics.binary import frame_iou
from avsctl.progress import Track, silent

log = logging.getLogger(__name__)

COMPRESSED = 0.02
"""Size of compressed maps in that of the maps; masks with few shades come down to this, predictions to 0.1."""


def prior_item(maps: np.ndarray, labels: np.ndarray, labelled: np.ndarray) -> dict[str, np.ndarray]:
    """A clip's entry in a shard: its maps and how good each is.

    Args:
        maps: (T, s, s) uint8, 128 and more sounds.
        labels: (T, s, s) of 0 and 1 where `labelled` (T,) is true.
    Returns: `maps`, and `iou` (T,) float64 by AVSBench's rule, NaN where a frame has no label.
    """
    iou = np.full(len(maps), np.nan)
    if labelled.any():
        iou[labelled] = frame_iou(maps[labelled] >= 128, labels[labelled])
    return {"maps": maps, "iou": iou}


def mean_accuracy(clips: ClipCache, ious: Iterable[tuple[int, np.ndarray]]) -> dict[str, float | None]:
    """mIoU of each "<subset>/<split>" and "all/<split>": the mean over labelled frames, None where there are none.

    Args:
        ious: pairs of a clip's number and its (T,) IoU, NaN where a frame has no label.
    """
    values: dict[str, list[np.ndarray]] = defaultdict(list)
    for clip, iou in ious:
        known = iou[~np.isnan(iou)]
        for subset in (clips.subsets[clip], "all"):
            values[f"{subset}/{clips.splits[clip]}"].append(known)
    joined = {name: np.concatenate(parts) for name, parts in values.items()}
    ordered = sorted(joined, key=lambda name: (name.startswith("all/"), *name.split("/")))
    return {name: float(joined[name].mean()) if len(joined[name]) else None for name in ordered}


def is_up_to_date(out: Path, plan: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether `out` is what this plan makes.

    Raises: AvsctlError: If `out` was made by another plan and may not be overwritten.
    """
    if overwrite or not out.exists():
        return False
    _check_plan(PriorCache(out), plan)
    remove_leftovers(out)
    log.info("%s is up to date.", out)
    return True


def _check_plan(cache: PriorCache, plan: Mapping[str, Any]) -> None:
    made, out = cache.header["options"], cache.path
    differs = [
        f"{name} ({made[name]})" if isinstance(made.get(name), (str, int)) else name
        for name in sorted(plan)
        if made.get(name) != plan[name]
    ]
    if differs:
        raise AvsctlError(
            f"{out} was made with another {', '.join(differs)}. Add --overwrite to make it again, or choose --out."
        )


def repair_priors(
    out: Path,
    plan: Mapping[str, Any],
    clips: ClipCache,
    indices: Sequence[int],
    compute: Callable[[Sequence[int]], Iterable[tuple[int, Mapping[str, np.ndarray]]]],
    track: Track = silent,
) -> bool:
    """Check every clip of a prior cache and make those again whose maps are not what was written.

    Args:
        indices: the clips of `clips`, in the order of the cache.
        compute: gives places in `indices` with their items.
    Returns: False where there is no cache, or its index can't be read: then all of it is to be made.
    Raises: AvsctlError: If `out` was made by another plan.
    """
    found = find_damage(lambda: PriorCache(out), track) if out.exists() else None
    if found is None:
        return False
    kept, damaged = found
    _check_plan(kept, plan)
    if damaged:
        for place in damaged:
            if not clips.verify(indices[place]):
                uid = clips.uids[indices[place]]
                raise AvsctlError(f"Clip {uid} is damaged in {clips.path}. Run 'avsctl prepare' with --repair first.")
        again = dict(compute(damaged))
        with sole_writer(out):
            check_space(out.parent, out.stat().st_size, out.name)
            assemble_priors(
                out,
                mended(kept, again, track),
                uids=[clips.uids[clip] for clip in indices],
                origin=kept.origin,
                accuracy=kept.accuracy,
                inputs=kept.header["inputs"],
                options=kept.header["options"],
            )
    return True


def making_priors(
    out: Path, plan: Mapping[str, Any], clips: ClipCache, indices: Sequence[int], size: int
) -> AbstractContextManager[Shards]:
    """The shards of a prior cache of the clips `indices`, with maps of side `size`, for its only writer."""
    frames = sum(clips.frame_count(clip) for clip in indices)
    item_bytes = frames * size**2 / len(indices)
    return making(out, plan, len(indices), item_bytes=item_bytes, final_share=COMPRESSED)


def assemble(
    out: Path,
    shards: Shards,
    clips: ClipCache,
    indices: Sequence[int],
    *,
    origin: str,
    plan: Mapping[str, Any],
    track: Track = silent,
) -> Path:
    """Put the shards together, with the accuracy found in them.

    Args:
        indices: the clips of `clips`, in the order of the shards' items.
        plan: what the cache was made from and how; `plan["clips"]` is the fingerprint of `clips`.
    """
    return assemble_priors(
        out,
        lambda: track(shards.read(), f"writing {out.name}", total=len(indices)),
        uids=[clips.uids[clip] for clip in indices],
        origin=origin,
        accuracy=mean_accuracy(clips, zip(indices, _ious(shards), strict=True)),
        inputs={"clips": clips.fingerprint},
        options=plan,
    )


def _ious(shards: Shards) -> Iterator[np.ndarray]:
    """The scores of all items in order, without reading the maps."""
    for shard in range(len(shards)):
        with shards.open(shard) as arrays:
            yield from (arrays[f"{i}/iou"] for i in range(len(shards.range(shard))))


def accuracy_rows(accuracy: Mapping[str, float | None]) -> list[tuple[str, list[float | None]]]:
    """A cache's recorded accuracy as rows: a subset, and its values by split in the order of `SPLITS`."""
    subsets = dict.fromkeys(name.rpartition("/")[0] for name in sorted(accuracy, key=lambda n: n.startswith("all/")))
    return [(subset, [accuracy.get(f"{subset}/{split}") for split in SPLITS]) for subset in subsets]
