"""`--shard i/n`: each of n machines makes its share of a cache in a file of its own, and merge-caches joins them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from avsctl.errors import AvsctlError

_TEXT = re.compile(r"([1-9]\d{0,5})/([1-9]\d{0,5})")
_NAME = re.compile(r"(.+)\.shard-([1-9]\d{0,5})-of-([1-9]\d{0,5})(\.[^.]+)")


@dataclass(frozen=True, order=True)
class Share:
    """One of `of` shares of a cache's clips, numbered from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read `2/4`. Raises: ValueError: If it is no such text, or the first number is above the second."""
        found = _TEXT.fullmatch(text)
        if not found or int(found[1]) > int(found[2]):
            raise ValueError(f"{text!r} is no share: give i/n with i from 1 to n, such as 2/4")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def path(self, target: Path) -> Path:
        """Where this share of a cache lies: `clips.shard-2-of-4.h5` beside `clips.h5`."""
        return target.with_name(f"{target.stem}.shard-{self.number}-of-{self.of}{target.suffix}")

    def cut(self, frames: Sequence[int]) -> range:
        """The clips of this share, neighbours in the cache: all shares have about as many frames.

        Args:
            frames: of each clip.
        Raises: AvsctlError: If there are too few clips for so many shares.
        """
        ends, total = list(accumulate(frames)), sum(frames)
        first, last = (sum(end * self.of <= total * bound for end in ends) for bound in (self.number - 1, self.number))
        if first == last:
            raise AvsctlError(f"--shard {self}: {len(ends)} clips are too few for {self.of} shares. Give fewer.")
        return range(first, last)


def share_of(path: Path) -> tuple[Path, Share] | None:
    """The cache that a file is a share of, and which one, by its name; None where it is no share."""
    found = _NAME.fullmatch(path.name)
    if not found or int(found[2]) > int(found[3]):
        return None
    return path.with_name(found[1] + found[4]), Share(int(found[2]), int(found[3]))


def find_shares(target: Path) -> dict[Share, Path]:
    """The shares of a cache that lie beside it, in order."""
    found = [(share_of(path), path) for path in target.parent.glob(f"{target.stem}.shard-*-of-*{target.suffix}")]
    return dict(sorted((named[1], path) for named, path in found if named and named[0] == target))


def missing_shares(shares: Iterable[Share]) -> list[Share]:
    """Which shares lack for a whole. Raises: ValueError: If they are shares of different wholes."""
    known = set(shares)
    wholes = {share.of for share in known}
    if len(wholes) > 1:
        raise ValueError(f"shares of {' and of '.join(str(of) for of in sorted(wholes))}")
    return [share for of in wholes for share in (Share(i, of) for i in range(1, of + 1)) if share not in known]
