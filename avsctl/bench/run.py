"""Runs items of the benchmark one after the other, and keeps what they found."""

from __future__ import annotations

import importlib
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from avsctl.bench.harness import Result, Settings, UnequalWork
from avsctl.bench.items import Item
from avsctl.bench.machine import machine_facts, transformers_version
from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent

log = logging.getLogger(__name__)

NEEDS_TRANSFORMERS = "transformers, the peer, is not installed: pip install 'avsctl[bench]'"


@dataclass(frozen=True)
class LeftOut:
    """An item that did not run, or whose two sides did not do the same work."""

    path: str
    reason: str


@dataclass
class Report:
    """What a run of the benchmark found so far."""

    machine: dict[str, Any]
    quick: bool
    results: list[Result] = field(default_factory=list)
    skipped: list[LeftOut] = field(default_factory=list)
    failed: list[LeftOut] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Machine facts, then the items."""
        return {
            "machine": self.machine,
            "quick": self.quick,
            "items": [result.to_json() for result in self.results],
            "skipped": [{"name": one.path, "reason": one.reason} for one in self.skipped],
            "failed": [{"name": one.path, "reason": one.reason} for one in self.failed],
        }


def run_items(
    items: Sequence[Item],
    *,
    quick: bool = False,
    threads: int | None = None,
    keep: Callable[[Report], object] = lambda report: None,
    track: Track = silent,
) -> Report:
    """Run items and give all they found; the machine is measured first.

    Args:
        quick: fewer rounds, smaller inputs.
        threads: torch's, on both sides; None leaves them as they are.
        keep: called with the report after every item.
    Raises: AvsctlError: If all items need what is not installed.
    """
    here = [item for item in items if not item.needs_transformers or transformers_version() is not None]
    if not here:
        raise AvsctlError(f"{NEEDS_TRANSFORMERS}.")
    if threads is not None:
        torch.set_num_threads(threads)
    report = Report(machine_facts(torch.get_num_threads()), quick)
    report.skipped = [LeftOut(item.name, NEEDS_TRANSFORMERS) for item in items if item not in here]
    if report.skipped:
        log.warning("%s; left out: %s", NEEDS_TRANSFORMERS, ", ".join(one.path for one in report.skipped))
    for item in track(here, "items", len(here)):
        _run(item, report)
        keep(report)
    return report


def _run(item: Item, report: Report) -> None:
    log.info("%s", item.name)
    module = importlib.import_module(f"avsctl.bench.{item.module}")
    with tempfile.TemporaryDirectory(prefix="avsctl-bench-") as folder:
        settings = Settings(
            quick=report.quick,
            threads=torch.get_num_threads(),
            scratch=Path(folder),
            native_bf16=report.machine["native_bf16"],
        )
        try:
            report.results += module.run(settings, **item.options)
        except UnequalWork as error:
            report.failed.append(LeftOut(item.name, str(error)))
