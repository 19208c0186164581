"""Read a dataset into `clips.h5`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from avsctl.caches.clips import ClipCache, ClipRecord, assemble_clips
from avsctl.caches.files import hash_of, hash_of_all, read_json, write_json
from avsctl.caches.integrity import find_damage, mended
from avsctl.caches.locks import sole_writer
from avsctl.caches.shards import Shards, making, remove_leftovers
from avsctl.caches.shares import Share
from avsctl.caches.space import check_space
from avsctl.data.entries import Entry
from avsctl.data.layouts import Dataset
from avsctl.data.media import BrokenClip
from avsctl.data.workers import spread
from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent
from avsctl.stages.cache_frames import cache_frames, check_room, decoded, is_decoded

log = logging.getLogger(__name__)

CLIPS_PER_SHARD = 4
"""Few, so that all processes end at about the same time, and hold little."""


def skipped_list(out: Path) -> Path:
    """Where `--skip-broken` writes what it left out: `clips.skipped.json` beside `clips.h5`."""
    return out.with_suffix(".skipped.json")


def prepare(
    dataset: Dataset,
    out: Path,
    *,
    subset: str | None = None,
    share: Share | None = None,
    workers: int | None = None,
    skip_broken: bool = False,
    overwrite: bool = False,
    repair: bool = False,
    cache_size: int | None = None,
    track: Track = silent,
) -> Path:
    """Read every clip of a dataset and put them into one cache.

    Clips are read in small shards beside `out`, so that a rerun after a stop reads only what is missing, or what
    changed since. When `out` holds these very clips already (by the csv, and by the names and sizes of all files),
    nothing is done.

    Args:
        dataset: from `avsctl.data.layouts`.
        subset: only this one's clips; None or `all` takes every one.
        share: only this share of them, into a file of its own beside `out`, for `merge_caches`.
        workers: processes, None for one per core.
        skip_broken: leave clips with broken files out, and list them in `clips.skipped.json`, each with
            `uid`, `subset`, `split`, `path`, `reason` and `kind`.
        repair: check every clip of `out` and read only those again whose bytes are not what was written.
        cache_size: also keep every frame decoded at this side, see `cache_frames`.
    Returns: `out`, or the share's file.
    Raises: AvsctlError: If a file is missing, short or broken, or if `out` holds something else.
    """
    entries = dataset.subset(subset)
    options = {
        "layout": dataset.name,
        "subset": subset or "all",
        "content": hash_of_all(chain([json.dumps(dataset.classes)], map(dataset.listing, entries))),
    }
    if share is not None:
        out, options = share.path(out), {**options, "shard": str(share)}
        numbers = share.cut([entry.frames for entry in entries])
        entries = entries[numbers.start : numbers.stop]
    if cache_size is not None and (overwrite or not is_decoded(out, cache_size)):
        check_room(out, sum(entry.frames for entry in entries), cache_size)
    if not (repair and _repaired(out, dataset, entries, options, track)):
        if out.exists() and not (overwrite or repair):
            _check_up_to_date(ClipCache(out), options, skip_broken)
            remove_leftovers(out)
        else:
            _make(out, dataset, entries, options, skip_broken, workers, track)
    return out if cache_size is None else cache_frames(out, cache_size, workers=workers, track=track)


def _repaired(out: Path, dataset: Dataset, entries: Sequence[Entry], options: dict[str, Any], track: Track) -> bool:
    """Whether a cache is whole, after its damaged clips were read again; False where all of it is to be made."""
    found = find_damage(lambda: ClipCache(out), track) if out.exists() else None
    if found is None:
        return False
    kept, damaged = found
    _check_same(kept, options)
    if damaged:
        _mend(kept, damaged, dataset, entries)
    return True


def _make(
    out: Path,
    dataset: Dataset,
    entries: Sequence[Entry],
    options: dict[str, Any],
    skip_broken: bool,
    workers: int | None,
    track: Track,
) -> None:
    plan = {
        "layout": dataset.name,
        "classes": dataset.classes,
        "entries": hash_of_all(repr(entry) for entry in entries),
    }
    item_bytes = _bytes_of_clip(dataset, entries)
    with making(out, plan, len(entries), CLIPS_PER_SHARD, item_bytes=item_bytes, also=[skipped_list(out)]) as shards:
        job = _Reading(dataset, entries, shards, skip_broken)
        _read_missing(job, workers, track)
        _assemble(job, out, options, track)


def _bytes_of_clip(dataset: Dataset, entries: Sequence[Entry]) -> float:
    """About what a clip's files take, from some of them."""
    some = entries[:: max(1, len(entries) // 100)]
    files = (path for entry in some for path in dataset.files(entry))
    return 0.9 * sum(path.stat().st_size for path in files if path.is_file()) / len(some)


@dataclass(frozen=True)
class _Reading:
    """Reads one shard; what a worker process holds."""

    dataset: Dataset
    entries: Sequence[Entry]
    shards: Shards
    skip_broken: bool

    def __call__(self, shard: int) -> tuple[int, BrokenClip | None]:
        """Write a shard; gives the first broken clip instead where that is not to be skipped."""
        items = []
        for number in self.shards.range(shard):
            try:
                items.append(self.item(self.entries[number]))
            except BrokenClip as broken:
                if not self.skip_broken:
                    return shard, broken
                items.append(_skipped(self.entries[number], broken))
        self.shards.write(shard, items)
        return shard, None

    def item(self, entry: Entry) -> dict[str, np.ndarray]:
        """A clip as arrays, with what its files looked like and how many of its labels were odd."""
        listing = self.dataset.listing(entry, times=True)
        loaded = self.dataset.read(entry)
        odd = [len(loaded.off_palette), len(loaded.greys)]
        return {**loaded.record.arrays(), "listing": np.array(listing), "odd": np.array(odd)}

    def reusable(self, shard: int) -> bool:
        """Whether a written shard still says what the files say, and skipped none of them."""
        numbers = self.shards.range(shard)
        try:
            with self.shards.open(shard) as arrays:
                return all(
                    str(arrays[f"{i}/listing"]) == self.dataset.listing(self.entries[number], times=True)
                    for i, number in enumerate(numbers)
                )
        except AvsctlError:
            return False

    def notes(self) -> tuple[list[dict[str, str]], np.ndarray]:
        """What was skipped, and how many labels held foreign colours and greys, without reading the pictures."""
        skipped, odd = [], np.zeros(2, int)
        for shard in range(len(self.shards)):
            with self.shards.open(shard) as arrays:
                names = set(arrays.files)
                for i in range(len(self.shards.range(shard))):
                    if f"{i}/skipped" in names:
                        skipped.append(json.loads(str(arrays[f"{i}/skipped"])))
                    else:
                        odd += arrays[f"{i}/odd"]
        return skipped, odd

    def clips(self) -> Iterator[Mapping[str, np.ndarray]]:
        """All clips that were read, in order."""
        return (item for item in self.shards.read() if "skipped" not in item)


def _skipped(entry: Entry, broken: BrokenClip) -> dict[str, np.ndarray]:
    what = {"uid": entry.uid, "subset": entry.subset, "split": entry.split}
    what |= {"path": broken.path, "reason": broken.reason, "kind": broken.kind}
    return {"skipped": np.array(json.dumps(what))}


def _mend(kept: ClipCache, damaged: Sequence[int], dataset: Dataset, entries: Sequence[Entry]) -> None:
    """Write a cache again with its `damaged` clips read anew."""
    out = kept.path
    skipped = {clip["uid"] for clip in read_json(skipped_list(out))} if kept.header["options"].get("skipped") else set()
    order = [entry for entry in entries if entry.uid not in skipped]
    try:
        again = {clip: _read_again(kept, clip, dataset.load(order[clip]).record) for clip in damaged}
    except BrokenClip as broken:
        raise AvsctlError(f"{broken}. The clip is damaged in {out}, too: restore the dataset's file.") from None
    hashes = [_hash(again[clip]) if clip in again else kept.hashes[clip] for clip in range(len(order))]
    if hash_of(*hashes) != kept.fingerprint:
        raise AvsctlError(
            f"The files of {dataset.root} are not those that {out} was made of. Make it with --overwrite."
        )
    with sole_writer(out):
        check_space(out.parent, out.stat().st_size, out.name)
        assemble_clips(
            out,
            mended(kept, again),
            classes=kept.classes,
            palette=kept.palette,
            label_kind=kept.label_kind,
            options=kept.header["options"],
        )


def _read_again(kept: ClipCache, clip: int, record: ClipRecord) -> dict[str, np.ndarray]:
    """A clip as arrays, decoded too where the cache has that."""
    side = kept.decoded_side
    return record.arrays() | (decoded(kept, clip, record.frames, record.labels, side) if side else {})


def _hash(item: Mapping[str, np.ndarray]) -> str:
    return item["hash"].tobytes().decode()


def _check_same(cache: ClipCache, options: dict[str, Any]) -> None:
    """Raise AvsctlError unless a cache was made from the clips of these options."""
    made, out = cache.header["options"], cache.path
    if {name: made.get(name) for name in options} != options:
        raise AvsctlError(
            f"{out} was made from other clips ({made.get('layout')}, subset {made.get('subset')}) or its files have "
            f"changed since. Add --overwrite to replace it, or choose another --workspace."
        )


def _check_up_to_date(cache: ClipCache, options: dict[str, Any], skip_broken: bool) -> None:
    """Raise AvsctlError unless a cache is what these options would make."""
    _check_same(cache, options)
    made, out = cache.header["options"], cache.path
    skipped = int(made.get("skipped", 0))
    if skipped and not skip_broken:
        raise AvsctlError(
            f"{out} lacks {skipped} broken clips, listed in {skipped_list(out)}. "
            f"Keep it so with --skip-broken, or mend them and read again with --overwrite."
        )
    log.info("%s is up to date.", out)


def _read_missing(job: _Reading, workers: int | None, track: Track) -> None:
    shards = job.shards
    for shard in range(len(shards)):
        if shards.path(shard).exists() and not job.reusable(shard):
            shards.path(shard).unlink(missing_ok=True)
    missing = shards.missing()
    clips = sum(len(shards.range(shard)) for shard in missing)
    if clips < shards.items:
        log.info("%d of %d clips are read already.", shards.items - clips, shards.items)
    for _ in track(_clips_done(job, missing, workers), "reading clips", total=clips):
        pass


def _clips_done(job: _Reading, missing: list[int], workers: int | None) -> Iterator[int]:
    """Yield the clips of each shard that gets done."""
    for shard, broken in spread(job, missing, workers):
        if broken is not None:
            raise AvsctlError(f"{broken}. Mend it, or leave such clips out with --skip-broken.")
        yield from job.shards.range(shard)


def _assemble(job: _Reading, out: Path, options: dict[str, Any], track: Track) -> None:
    skipped, odd = job.notes()
    if len(skipped) == len(job.entries):
        raise AvsctlError(f"Not one clip can be read, {skipped[0]['path']} {skipped[0]['reason']} being the first.")
    assemble_clips(
        out,
        lambda: track(job.clips(), f"writing {out.name}", total=len(job.entries) - len(skipped)),
        classes=job.dataset.classes,
        palette=job.dataset.palette,
        label_kind=job.dataset.label_kind,
        options={**options, "skipped": len(skipped)},
    )
    if skipped:
        write_json(skipped_list(out), skipped)
    else:
        skipped_list(out).unlink(missing_ok=True)
    if odd[0]:
        log.info("%d labels hold colours outside the palette; those pixels are background.", odd[0])
    if odd[1]:
        log.info("%d masks hold greys; 128 and more counts as sounding.", odd[1])
