"""Small whole files from which a cache is put together.

An HDF5 file that grows in place is unreadable after a kill, so nothing is appended to a cache. Workers write
shards of a few items each (renamed into place when whole); the cache is assembled from them in index order in
one pass. A rerun finds the shards that are done, and the assembled bytes do not depend on who wrote which.
"""

from __future__ import annotations

import json
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile

from avsctl.caches.files import hash_of, whole_file
from avsctl.caches.locks import sole_writer
from avsctl.caches.space import check_space
from avsctl.distributed import held_by_main, on_main
from avsctl.errors import AvsctlError


@contextmanager
def making(
    target: Path,
    plan: Mapping[str, Any],
    items: int,
    per_shard: int = 8,
    *,
    item_bytes: float,
    final_share: float = 1,
    also: Sequence[Path] = (),
    wait: bool = False,
) -> Iterator[Shards]:
    """Give the shards of a cache to its only writer, and remove them when the block ends without an error.

    Where several processes of a command make it together, the main one is the writer and removes them; each may write
    shards of its own.

    Args:
        item_bytes: about what one item takes in a shard, rather less than more.
        final_share: size of the finished cache in that of all its shards.
        also: files that are written with it.
        wait: for another process that is making it, instead of refusing; look then whether it is there.
    Raises: AvsctlError: If another process is making the cache, or it would not fit on the disk.
    """
    shards = Shards(target, plan, items, per_shard)

    def check() -> None:
        missing = sum(len(shards.range(shard)) for shard in shards.missing())
        check_space(target.parent, int(item_bytes * (missing + final_share * items)), f"{target.name}")

    with held_by_main(sole_writer(target, also=also, wait=wait)):
        on_main(check)
        yield shards
        on_main(lambda: shutil.rmtree(shards.home, ignore_errors=True))


def remove_leftovers(target: Path) -> None:
    """Remove the shards of a finished cache: a kill can come between its last byte and their removal."""
    if _home(target).exists():
        # Another command may be making the cache anew, or the folder be read-only: no harm in either.
        with suppress(AvsctlError, OSError), sole_writer(target):
            shutil.rmtree(_home(target))


def _home(target: Path) -> Path:
    return target.with_name(f".{target.name}.shards")


class Shards:
    """The shards of one cache under one plan.

    Args:
        target: the cache to be assembled; its shards live in a hidden folder beside it.
        plan: everything that decides the content (inputs, options). Shards of another plan are never mixed in.
        items: how many items the cache will hold.
        per_shard: items in a shard; the last may hold fewer.
    """

    def __init__(self, target: Path, plan: Mapping[str, Any], items: int, per_shard: int = 8):
        self.target = target
        self.items = items
        self.per_shard = per_shard
        self.home = _home(target)
        self.folder = self.home / hash_of(json.dumps(dict(plan), sort_keys=True, default=str), str(per_shard))

    def __len__(self) -> int:
        return -(-self.items // self.per_shard)

    def range(self, shard: int) -> range:
        """The items of a shard."""
        return range(shard * self.per_shard, min((shard + 1) * self.per_shard, self.items))

    def path(self, shard: int) -> Path:
        """Where a shard lies once it is whole."""
        return self.folder / f"{shard:06d}.npz"

    def missing(self) -> list[int]:
        """The shards that are not written yet, in order."""
        return [shard for shard in range(len(self)) if not self.path(shard).exists()]

    def write(self, shard: int, items: Sequence[Mapping[str, np.ndarray]]) -> None:
        """Write the items of a shard, each a flat mapping of arrays."""
        arrays = {f"{i}/{name}": value for i, item in enumerate(items) for name, value in item.items()}
        with whole_file(self.path(shard)) as part, part.open("wb") as handle:
            np.savez(handle, **arrays)  # type: ignore[arg-type] # to mypy, a name could be savez's own option

    @contextmanager
    def open(self, shard: int) -> Iterator[NpzFile]:
        """The arrays of a shard, each under `<place in the shard>/<name>`.

        Raises: AvsctlError: If the shard is damaged, which is removed then.
        """
        with self.whole(shard), np.load(self.path(shard), allow_pickle=False) as arrays:
            yield arrays

    @contextmanager
    def whole(self, shard: int) -> Iterator[None]:
        """Read from a shard inside. Raises: AvsctlError: If it is damaged, which is removed then."""
        path = self.path(shard)
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, KeyError, OSError, ValueError, EOFError) as error:
            path.unlink(missing_ok=True)
            raise AvsctlError(
                f"{path}, a part of {self.target.name}, was damaged ({error}) and is removed. Run the same command "
                f"again: it makes only this part anew."
            ) from None

    def read(self) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield all items in index order, each for use before the next is asked for: it reads what is looked up.

        Raises: AvsctlError: If a shard is damaged; looking something up in an item does so, too.
        """
        for shard in range(len(self)):
            with self.open(shard) as arrays:
                names: list[list[str]] = [[] for _ in self.range(shard)]
                for key in arrays.files:
                    number, name = key.split("/", 1)
                    names[int(number)].append(name)
                for place, own in enumerate(names):
                    yield _Item(self, shard, arrays, place, own)


class _Item(Mapping[str, np.ndarray]):
    """An item of an open shard."""

    def __init__(self, shards: Shards, shard: int, arrays: NpzFile, place: int, names: list[str]):
        self._shards, self._shard, self._arrays, self._place, self._names = shards, shard, arrays, place, names

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        with self._shards.whole(self._shard):
            return self._arrays[f"{self._place}/{name}"]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
