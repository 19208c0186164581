"""Small whole files from which a cache is put together.

An HDF5 file that grows in place is unreadable after a kill, so nothing is appended to a cache. Workers write
shards of a few items each (renamed into place when whole); the cache is assembled from them in index order in
one pass. A rerun finds the shards that are done, and the assembled bytes do not depend on who wrote which.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avsctl.caches.files import hash_of, whole_file


class Shards:
    """The shards of one cache under one plan.

    Args:
        target: the cache to be assembled; its shards live in a hidden folder beside it.
        plan: everything that decides the content (inputs, options). Shards of another plan are never mixed in.
        items: how many items the cache will hold.
        per_shard: items in a shard; the last may hold fewer.
    """

    def __init__(self, target: Path, plan: Mapping[str, Any], items: int, per_shard: int = 8):
        self.items = items
        self.per_shard = per_shard
        self.home = target.with_name(f".{target.name}.shards")
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

    def read(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield all items in index order."""
        for shard in range(len(self)):
            items: list[dict[str, np.ndarray]] = [{} for _ in self.range(shard)]
            with np.load(self.path(shard), allow_pickle=False) as arrays:
                for key in arrays.files:
                    number, name = key.split("/", 1)
                    items[int(number)][name] = arrays[key]
            yield from items

    def remove(self) -> None:
        """Delete the shards of this cache, of any plan."""
        shutil.rmtree(self.home, ignore_errors=True)
