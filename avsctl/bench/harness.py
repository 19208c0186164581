"""What an item of the benchmark takes and gives, and how two sides are timed against each other."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class UnequalWork(Exception):
    """The two sides of an item do not compute the same, so that their times say nothing."""


@dataclass(frozen=True)
class Settings:
    """What an item is run with.

    Args:
        quick: fewer rounds and smaller inputs.
        threads: torch's, in this process and in those that measure memory.
        scratch: an empty folder for the item's files.
        native_bf16: whether this processor multiplies bf16 faster than float32.
    """

    quick: bool
    threads: int
    scratch: Path
    native_bf16: bool = False

    def rounds(self, full: int, quick: int = 1) -> int:
        """How often each side is timed."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Result:
    """One comparison.

    Args:
        name: the item's, perhaps with a variant behind it.
        ours_s, peer_s: median seconds of one call of either side.
        target: the ratio `peer_s / ours_s` that is wanted; None where there is none.
        unit, count: what a call works on, and how many.
        peer: what we are compared with.
        checked: what was found equal on both sides before anything was timed.
        ours_bytes, peer_bytes: peak memory of a process that does one call of one side, None where not measured.
        memory_target: largest wanted `ours_bytes / peer_bytes`; None where there is none.
        details: whatever else was measured.
    """

    name: str
    ours_s: float
    peer_s: float
    target: float | None
    unit: str
    count: float
    peer: str
    checked: str
    ours_bytes: int | None = None
    peer_bytes: int | None = None
    memory_target: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """How many times faster we are."""
        return self.peer_s / self.ours_s

    @property
    def memory_ratio(self) -> float | None:
        """Our peak memory as a share of the peer's; None where it was not measured."""
        return self.ours_bytes / self.peer_bytes if self.ours_bytes and self.peer_bytes else None

    @property
    def reached(self) -> bool | None:
        """Whether the targets of time and memory are reached; None without any."""
        met = [] if self.target is None else [self.ratio >= self.target]
        if self.memory_target is not None and self.memory_ratio is not None:
            met.append(self.memory_ratio <= self.memory_target)
        return all(met) if met else None

    def to_json(self) -> dict[str, Any]:
        """All of it, with ratio and throughput."""
        return {
            "name": self.name,
            "ours_s": self.ours_s,
            "peer_s": self.peer_s,
            "ratio": self.ratio,
            "target": self.target,
            "reached": self.reached,
            "unit": self.unit,
            "count": self.count,
            "ours_per_s": self.count / self.ours_s,
            "peer_per_s": self.count / self.peer_s,
            "ours_peak_bytes": self.ours_bytes,
            "peer_peak_bytes": self.peer_bytes,
            "memory_ratio": self.memory_ratio,
            "memory_target": self.memory_target,
            "peer": self.peer,
            "checked": self.checked,
            "details": self.details,
        }


def in_turn(ours: Callable[[], Any], peer: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Median seconds of both sides, called in turn; who begins changes with every round, so that drift cancels.

    Both should have run once before, so that nothing is made or loaded while the clock runs.
    """
    sides: tuple[Callable[[], Any], ...] = (ours, peer)
    times: dict[Callable[[], Any], list[float]] = {ours: [], peer: []}
    for number in range(rounds):
        for side in sides if number % 2 == 0 else sides[::-1]:
            times[side].append(seconds(side))
    return statistics.median(times[ours]), statistics.median(times[peer])


def seconds(call: Callable[[], Any]) -> float:
    """Seconds that a call takes, rubbish from before collected first."""
    gc.collect()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def require_equal(equal: bool, what: str) -> None:
    """Raise UnequalWork unless both sides have the same `what`."""
    if not equal:
        raise UnequalWork(f"the two sides differ in {what}")
