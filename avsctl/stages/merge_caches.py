"""Join the shares of a cache, which several machines made, into what one machine would have made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from avsctl.caches.audio import AudioCache, assemble_audio
from avsctl.caches.clips import ClipCache, assemble_clips
from avsctl.caches.files import hash_of, read_json, write_json
from avsctl.caches.integrity import Item
from avsctl.caches.locks import sole_writer
from avsctl.caches.shares import Share, find_shares, missing_shares
from avsctl.caches.space import check_space
from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent
from avsctl.stages.prepare import skipped_list
from avsctl.workspace import Workspace

log = logging.getLogger(__name__)

C = TypeVar("C", ClipCache, AudioCache)


def merge_caches(
    workspace: Workspace, *, overwrite: bool = False, remove: bool = False, track: Track = silent
) -> Iterator[Path]:
    """Join the shares of `clips.h5` and then of `audio.h5` that lie in a workspace, by copying.

    The result has the very bytes that one machine would have written. Every clip is checked on the way.

    Args:
        overwrite: replace a cache that is there and holds something else.
        remove: delete the shares of a cache once it is whole.
    Returns: the caches, each when it is made, or found as the shares would make it.
    Raises: AvsctlError: If there are no shares, or some are missing, damaged, made from other data or with other
        options, or hold a clip twice.
    """
    found: list[tuple[Path, str, Callable[..., None]]] = [
        (workspace.clips, "prepare avsbench", _merge_clips),
        (workspace.audio, "extract-audio", partial(_merge_audio, clips_path=workspace.clips)),
    ]
    if not any(find_shares(target) for target, _, _ in found):
        raise AvsctlError(
            f"No shares in {workspace.root}. Make them with 'avsctl prepare avsbench --shard i/n', one on each machine."
        )
    for target, command, merge in found:
        shares = find_shares(target)
        if not shares:
            continue
        _check_complete(target, shares, command)
        merge(target, shares, overwrite=overwrite, track=track)
        yield target
        for path in shares.values() if remove else ():
            path.unlink()
            skipped_list(path).unlink(missing_ok=True)


def _check_complete(target: Path, shares: Mapping[Share, Path], command: str) -> None:
    try:
        missing = missing_shares(shares)
    except ValueError as error:
        raise AvsctlError(f"{target.parent} holds {error} of {target.name}. Delete those that are not meant.") from None
    if missing:
        names = ", ".join(share.path(target).name for share in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise AvsctlError(
            f"{target.name} lacks {len(missing)} of {missing[0].of} shares: {names}{more}. "
            f"Make them with 'avsctl {command} --shard {missing[0]}'."
        )


def _merge_clips(target: Path, shares: Mapping[Share, Path], *, overwrite: bool, track: Track) -> None:
    caches = _open(shares, ClipCache)
    first = caches[0]
    for cache in caches[1:]:
        _check_alike(first, cache, {"skipped", "shard"})
        if cache.decoded_side != first.decoded_side:
            raise AvsctlError(
                f"{cache.path} holds frames decoded at {cache.decoded_side or 'no size'} and {first.path} at "
                f"{first.decoded_side or 'no size'}. Run their 'avsctl prepare' with the same --cache-size."
            )
    skipped = [clip for cache in caches for clip in _skipped(cache)]
    options = {name: value for name, value in first.header["options"].items() if name != "shard"}
    options["skipped"] = len(skipped)
    hashes = [value for cache in caches for value in cache.hashes]
    if not overwrite and _is_there(target, ClipCache, hash_of(*hashes), options):
        return
    with _writing(target, shares.values()):
        assemble_clips(
            target,
            _all_items(caches, target, track),
            classes=first.classes,
            palette=first.palette,
            label_kind=first.label_kind,
            options=options,
        )
        if skipped:
            write_json(skipped_list(target), skipped)
        else:
            skipped_list(target).unlink(missing_ok=True)


def _merge_audio(
    target: Path, shares: Mapping[Share, Path], *, clips_path: Path, overwrite: bool, track: Track
) -> None:
    clips, caches = ClipCache(clips_path), _open(shares, AudioCache)
    first = caches[0]
    start = 0
    for cache in caches:
        _check_alike(first, cache, {"clips", "shard"})
        stop = start + len(cache)
        own = hash_of(*clips.hashes[start:stop])
        if cache.uids != clips.uids[start:stop] or cache.header["inputs"].get("clips") != own:
            raise AvsctlError(
                f"{cache.path} was not made from the clips of its share of {clips_path}. "
                f"Make it again with 'avsctl extract-audio --shard {cache.header['options']['shard']} --overwrite'."
            )
        start = stop
    if start != len(clips):
        raise AvsctlError(f"The shares of {target.name} hold {start} of the {len(clips)} clips of {clips_path}.")
    options = {name: value for name, value in first.header["options"].items() if name != "shard"}
    options["clips"] = clips.fingerprint
    if not overwrite and _is_there(target, AudioCache, None, options):
        return
    with _writing(target, shares.values()):
        assemble_audio(
            target,
            _all_items(caches, target, track),
            uids=clips.uids,
            encoder=first.encoder,
            inputs={"clips": clips.fingerprint},
            options=options,
        )


def _open(shares: Mapping[Share, Path], read: Callable[[Path], C]) -> list[C]:
    """The shares in order, each of which says itself which it is, and holds clips that no other does."""
    caches: list[C] = []
    owner: dict[str, Path] = {}
    for share, path in shares.items():
        cache = read(path)
        if cache.header["options"].get("shard") != str(share):
            held = cache.header["options"].get("shard", "no share")
            raise AvsctlError(f"{path} holds {held}, not {share}, whatever its name says. Give it its own name again.")
        for uid in cache.uids:
            if owner.setdefault(uid, path) != path:
                raise AvsctlError(
                    f"Clip {uid} is in {owner[uid]} and in {path}: they are shares of different datasets. "
                    f"Make them again with --overwrite, from the same one."
                )
        caches.append(cache)
    return caches


def _check_alike(first: C, cache: C, own: set[str]) -> None:
    """Refuse a share made from other data or with other options than the first; `own` names what may differ."""
    one, other = ({n: v for n, v in c.header["options"].items() if n not in own} for c in (first, cache))
    differs = ", ".join(sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)))
    if differs:
        raise AvsctlError(
            f"{cache.path} and {first.path} differ in {differs}: they were made from different data or with different "
            f"options. Make one of them again with --overwrite."
        )


def _skipped(cache: ClipCache) -> list[Any]:
    return read_json(skipped_list(cache.path)) if cache.header["options"].get("skipped") else []


def _is_there(target: Path, read: Callable[[Path], C], fingerprint: str | None, options: Mapping[str, Any]) -> bool:
    """Whether the joined cache is there already. Raises: AvsctlError: If another one is in its place."""
    if not target.exists():
        return False
    found = read(target)
    if found.header["options"] == options and fingerprint in (None, found.fingerprint):
        log.info("%s is up to date.", target)
        return True
    raise AvsctlError(f"{target} is there and was made from something else. Add --overwrite to replace it.")


@contextmanager
def _writing(target: Path, shares: Iterable[Path]) -> Iterator[None]:
    """Be the only writer of a cache for which there is room."""
    with sole_writer(target):
        check_space(target.parent, sum(path.stat().st_size for path in shares), target.name)
        yield


def _all_items(caches: Sequence[C], target: Path, track: Track) -> Callable[[], Iterator[Item]]:
    """What `assemble_…` takes as `items`: the clips of all shares. Raises: AvsctlError: If one is damaged."""

    def items() -> Iterator[Item]:
        places = [(cache, clip) for cache in caches for clip in range(len(cache))]
        for cache, clip in track(places, f"joining {target.name}", len(places)):
            item = cache.item(clip)
            if not cache.matches(clip, item):
                share = cache.header["options"]["shard"]
                raise AvsctlError(
                    f"{cache.path}: clip {cache.uids[clip]} is damaged. Run the command that made this file again, "
                    f"with --shard {share} --repair."
                )
            yield item

    return items
