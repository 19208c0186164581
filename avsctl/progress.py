"""How a stage reports its progress without knowing who watches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Track = Callable[..., Iterator[Any]]
"""`track(items, description, total=None)` yields the items and shows how far it is."""


def silent(items: Iterable[Any], description: str = "", total: int | None = None) -> Iterator[Any]:
    """Yield the items and show nothing: what a stage uses when no command watches."""
    return iter(items)
