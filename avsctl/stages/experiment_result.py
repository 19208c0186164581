"""From reports to a table: means and spreads over seeds, differences with their intervals."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from avsctl.caches.files import read_json
from avsctl.metrics.bootstrap import CONFIDENCE, RESAMPLES, ClipSums, paired_bootstrap
from avsctl.stages.evaluation_report import Report, read_clip_sums
from avsctl.stages.experiment_cells import Cell, Training
from avsctl.stages.experiment_paper import Number
from avsctl.stages.experiment_tables import Entry, Plan, Where

PAPER_SCORES = ("mIoU", "F")


def collect(plan: Plan, missing: Collection[Cell]) -> dict[str, Any]:
    """All that a table shows, as JSON holds it; scores are fractions, the paper's numbers percent.

    Args:
        missing: cells without a result: a place that has any is left empty.
    Returns: `entries` and `differences` by title, `occurring` (K with a pixel in the test's labels, of all), and
        `training_seconds` of all trainings together.
    Raises: AvsctlError: If a report is damaged.
    """
    reports = {
        where: [one.read() for one in entry.evaluations]
        for where, entry in plan.entries.items()
        if not any(one in missing for one in entry.evaluations)
    }
    entries = [_entry(where, entry, reports.get(where)) for where, entry in plan.entries.items()]
    content = {
        "experiment": plan.name,
        "title": plan.title,
        "corner": plan.corner,
        "notes": list(plan.notes),
        "rows": plan.rows,
        "columns": plan.columns,
        "entries": entries,
        "differences": [_difference(plan, pair, reports) for pair in plan.differences],
        "interval": {"confidence": CONFIDENCE, "resamples": RESAMPLES, "over": "clips"},
        "classes": _classes(plan, reports),
        "training_seconds": sum(_seconds(cell) for cell in plan.cells() if isinstance(cell, Training)),
    }
    if plan.name == "prior-curve":
        content["break_even"] = _break_even(plan, entries)
    return content


def _entry(where: Where, entry: Entry, reports: list[Report] | None) -> dict[str, Any]:
    row, column = where
    content: dict[str, Any] = {
        "row": row,
        "column": column,
        "runs": [one.training.name for one in entry.evaluations],
        "reports": [str(one.path) for one in entry.evaluations],
        "paper": dict(zip(PAPER_SCORES, entry.paper, strict=True)),
        "scores": None,
        "prior_miou": None,
    }
    if reports is None:
        return content
    scores = {title: _scores(entry, reports, title) for title in entry.scores}
    content["scores"] = {title: {**_spread(values), "values": values} for title, values in scores.items()}
    if reports[0].content["prior"] is not None:
        content["prior_miou"] = float(np.mean([_prior_miou(report, entry.subset) for report in reports]))
    return content


def _score(report: Report, name: str, subset: str) -> float:
    scores = report.content["scores"]
    return (scores["all"] if subset == "all" else scores["subsets"][subset])[name]


def _prior_miou(report: Report, subset: str) -> float:
    miou = report.content["prior"]["miou"]
    return miou["all"] if subset == "all" else miou["subsets"][subset]


def _spread(values: list[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation, which a single value doesn't have."""
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else None}


def _difference(plan: Plan, pair: tuple[Where, Where], reports: dict[Where, list[Report]]) -> dict[str, Any]:
    first, second = pair
    content: dict[str, Any] = {"first": list(first), "second": list(second), "scores": None}
    content["paper"] = _paper_difference(plan.entries[first].paper, plan.entries[second].paper)
    if first not in reports or second not in reports:
        return content
    content["scores"] = {}
    for title in plan.entries[first].scores:
        sides = [_clip_sums(plan.entries[where], reports[where], title) for where in pair]
        found = paired_bootstrap(list(zip(*sides, strict=True)))
        values = [_scores(plan.entries[where], reports[where], title) for where in pair]
        content["scores"][title] = {
            "difference": found.difference,
            "std": _spread([a - b for a, b in zip(*values, strict=True)])["std"],
            "low": found.low,
            "high": found.high,
        }
    return content


def _scores(entry: Entry, reports: list[Report], title: str) -> list[float]:
    return [_score(report, entry.scores[title], entry.subset) for report in reports]


def _clip_sums(entry: Entry, reports: list[Report], title: str) -> list[ClipSums]:
    return [read_clip_sums(report, entry.scores[title], entry.subset) for report in reports]


def _paper_difference(first: Number, second: Number) -> dict[str, float | None]:
    pairs = zip(PAPER_SCORES, first, second, strict=True)
    return {title: None if a is None or b is None else round(a - b, 1) for title, a, b in pairs}


def _classes(plan: Plan, reports: dict[Where, list[Report]]) -> dict[str, int] | None:
    """How many classes have a pixel in the labels, of how many: what no method's mIoU can exceed."""
    for content in (report.content for found in reports.values() for report in found):
        if "per_class" in content and content["subset"] == "all":
            rows = content["per_class"]["all"]
            return {"occurring": sum(row["target_pixels"] > 0 for row in rows), "all": len(rows)}
    return None


def _seconds(cell: Training) -> float:
    """How long it trained: its clock, read after every epoch, starts anew when the run is continued."""
    timing = cell.run.folder / "timing.json"
    clock = read_json(timing)["seconds"] if timing.exists() else []
    return sum(now for now, then in zip(clock, [*clock[1:], 0.0], strict=False) if then < now)


def _break_even(plan: Plan, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """By model: the prior's mIoU from which on stage 2 is better than the single stage.

    Linear between the measured points; None where the two never cross.
    """
    found = {}
    for model in plan.rows:
        own = [entry for entry in entries if entry["row"] == model and entry["scores"]]
        single = next((entry for entry in own if entry["prior_miou"] is None), None)
        points = sorted((e["prior_miou"], e["scores"]["mIoU"]["mean"]) for e in own if e["prior_miou"] is not None)
        found[model] = None if single is None else crossing(points, single["scores"]["mIoU"]["mean"])
    return found


def crossing(points: list[tuple[float, float]], level: float) -> float | None:
    """Where a line through points (x, y), ascending in x, last rises through a level; None if it never does."""
    at = None
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if y0 < level <= y1:
            at = x0 + (level - y0) / (y1 - y0) * (x1 - x0)
    return at
