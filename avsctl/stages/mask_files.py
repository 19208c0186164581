"""Masks as PNG files, in the layout of the released code: any program's into a prior cache, a cache's out again.

`<v1s|v1m|v2>/<uid>/<frame>.png`, frames from 0, grey value / 255 is the probability. Also read: subsets by avsctl's
names (`s4`, `ms3`, …), and `<uid>/<frame>.png` without subsets.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from avsctl.caches.clips import SUBSETS, ClipCache
from avsctl.caches.files import hash_of, read_regular
from avsctl.caches.priors import PriorCache
from avsctl.caches.shards import Shards
from avsctl.configs import LABEL_SIZE
from avsctl.data.decoding import decode_labels
from avsctl.data.labels import binary_label
from avsctl.data.workers import spread
from avsctl.errors import AvsctlError
from avsctl.limits import MAX_FILE
from avsctl.pictures import open_picture
from avsctl.progress import Track, silent
from avsctl.stages.prior_assembly import assemble, is_up_to_date, making_priors, prior_item, repair_priors

log = logging.getLogger(__name__)


def import_masks(
    clips: Path,
    masks: Path,
    out: Path,
    *,
    subset: str | None = None,
    split: str | None = None,
    size: int = LABEL_SIZE,
    binary_labels: str = "bilinear",
    workers: int | None = None,
    overwrite: bool = False,
    repair: bool = False,
    track: Track = silent,
) -> Path:
    """Write a prior cache from mask files of any size.

    Args:
        clips: `clips.h5`; masks: the folder of masks; out: the cache to write.
        subset, split: which clips; None or `all` for every one.
        size: side of the maps; other sizes are resized bilinearly (Pillow's), without keeping the aspect ratio.
        binary_labels: the rule by which labels get that size for the recorded accuracy.
        workers: processes, None for one per core.
        repair: check every clip of `out` and read only those masks again whose maps are not what was written.
    Returns: `out`.
    Raises: AvsctlError: If a mask is missing, one too many or not readable, or `out` holds something else.
    """
    cache = ClipCache(clips)
    if not masks.is_dir():
        raise AvsctlError(f"No folder of masks at {masks}. Give one that holds <v1s|v1m|v2>/<uid>/<frame>.png.")
    order = cache.select(split=split, subset=subset)
    files = [clip_masks(masks, cache.subsets[clip], cache.uids[clip], cache.frame_count(clip)) for clip in order]
    stamps = (f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for paths in files for path in paths)
    plan = {
        "clips": cache.fingerprint,
        "masks": str(masks.resolve()),
        "files": hash_of(*stamps),
        "subset": subset or "all",
        "split": split or "all",
        "size": size,
        "binary_labels": binary_labels,
    }

    def compute(items: Sequence[int]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        job = _Import(cache, order, files, size, binary_labels, Shards(out, plan, len(order)))
        return ((item, job.item(item)) for item in items)

    if repair and repair_priors(out, plan, cache, order, compute, track):
        return out
    if is_up_to_date(out, plan, overwrite or repair):
        return out
    with making_priors(out, plan, cache, order, size) as shards:
        job = _Import(cache, order, files, size, binary_labels, shards)
        missing = shards.missing()
        peak = max(track(spread(job, missing, workers), "reading masks", total=len(missing)), default=255)
        if peak == 1:
            log.warning("No mask in %s is brighter than 1 of 255, so that all is silent: sounding must be 255.", masks)
        return assemble(out, shards, cache, order, origin="masks", plan=plan, track=track)


def clip_masks(root: Path, subset: str, uid: str, count: int) -> list[Path]:
    """The mask files of a clip, one per frame.

    Raises: AvsctlError: If the folder or a mask is missing, or there are more masks than frames.
    """
    places = [root / SUBSETS.get(subset, subset) / uid, root / subset / uid, root / uid]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise AvsctlError(
            f"{places[0]} is missing: clip {uid} has no masks. Add them, or choose clips with --subset and --split."
        )
    files = [folder / f"{frame}.png" for frame in range(count)]
    for path in files:
        if not path.is_file():
            raise AvsctlError(f"{path} is missing: clip {uid} has {count} frames, numbered from 0. Add the mask.")
    found = sum(1 for path in folder.iterdir() if path.suffix == ".png" and path.name[0] != ".")
    if found > count:
        raise AvsctlError(f"{folder} holds {found} masks, but clip {uid} has {count} frames. Are they of these clips?")
    return files


def read_mask(path: Path, size: int) -> np.ndarray:
    """A mask file as (size, size) uint8; 128 and more sounds.

    Raises: AvsctlError: If it is not a readable picture.
    """
    grey = grey_of(read_picture(path))
    return np.asarray(grey if grey.size == (size, size) else grey.resize((size, size), Image.Resampling.BILINEAR))


def read_picture(path: Path) -> Image.Image:
    """A mask file, decoded.

    Raises: AvsctlError: If it is not a readable picture.
    """
    try:
        return open_picture(read_regular(path, MAX_FILE))
    except ValueError as error:
        raise AvsctlError(f"The mask {path} {error}. Write this mask again.") from None


def grey_of(picture: Image.Image) -> Image.Image:
    """A picture of any kind in 8-bit grey."""
    if not picture.mode.startswith("I"):
        return picture.convert("L")
    # 16 bits; Pillow's own conversion would cut them off at 255
    values = np.asarray(picture).astype(np.float64) / 65535 * 255
    return Image.fromarray(np.rint(values).astype(np.uint8))


@dataclass(frozen=True)
class _Import:
    """Reads the masks of one shard; what a worker process holds. Gives their brightest value."""

    clips: ClipCache
    order: list[int]
    files: list[list[Path]]
    size: int
    binary_labels: str
    shards: Shards

    def __call__(self, shard: int) -> int:
        items = [self.item(number) for number in self.shards.range(shard)]
        self.shards.write(shard, items)
        return max(int(item["maps"].max()) for item in items)

    def item(self, number: int) -> dict[str, np.ndarray]:
        """The priors of one clip."""
        maps = np.stack([read_mask(path, self.size) for path in self.files[number]])
        labels, labelled = read_binary_labels(self.clips, self.order[number], self.size, self.binary_labels)
        return prior_item(maps, labels, labelled)


def read_binary_labels(clips: ClipCache, clip: int, size: int, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """(T, size, size) uint8 of 0 and 1, all 0 where a frame has no label, and (T,) bool: which have one."""
    labels = np.zeros((clips.frame_count(clip), size, size), np.uint8)
    for t, label in enumerate(decode_labels(clips, clip)):
        if label is not None:
            labels[t] = binary_label(label, size, rule=rule, palette=clips.palette)
    return labels, clips.labelled(clip)


def check_export(folder: Path) -> None:
    """Refuse a folder that holds something, before any work is done.

    Raises: AvsctlError: If `folder` is a file or not empty.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise AvsctlError(f"{folder} holds something already. Give --export-png a new folder, or empty this one.")


def export_masks(prior: Path, clips: Path, folder: Path, *, track: Track = silent) -> Path:
    """Write a prior cache as PNGs of 0 and 255 at 224 x 224, as the released stage 1 does (255 times the argmax).

    Args:
        prior: the cache; other sizes are resized bilinearly before the decision.
        folder: where to, new or empty; it appears when all is written.
    Returns: `folder`.
    Raises: AvsctlError: If `folder` holds something.
    """
    check_export(folder)
    maps, cache = PriorCache(prior), ClipCache(clips)
    part = folder.absolute().with_name(f".{folder.absolute().name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    held = [clip for clip, uid in enumerate(cache.uids) if uid in maps]
    try:
        for clip in track(held, "writing PNGs"):
            uid = cache.uids[clip]
            place = part / SUBSETS.get(cache.subsets[clip], cache.subsets[clip]) / uid
            place.mkdir(parents=True)
            for frame, mask in enumerate(_hard(maps.maps(uid))):
                mask.save(place / f"{frame}.png")
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _hard(maps: np.ndarray) -> Iterator[Image.Image]:
    for probability in maps:
        grey = Image.fromarray(probability)
        if grey.size != (LABEL_SIZE, LABEL_SIZE):
            grey = grey.resize((LABEL_SIZE, LABEL_SIZE), Image.Resampling.BILINEAR)
        yield Image.fromarray(np.where(np.asarray(grey) >= 128, 255, 0).astype(np.uint8))
