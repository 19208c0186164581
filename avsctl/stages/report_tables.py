"""The tables and charts of a report, from facts and evaluations to what the page's template prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from avsctl.metrics import MEANINGS
from avsctl.rendering.report.charts import Line, finite_points, line_chart, point_chart
from avsctl.stages.evaluate import compare_priors
from avsctl.stages.evaluation_report import Report
from avsctl.stages.report_runs import RunFacts
from avsctl.stages.report_scores import Evaluation
from avsctl.workspace import TASKS

TITLES = {"avs": "Stage 1: where the sound comes from", "avss": "Stage 2: what sounds"}
KINDS = {"avs": "binary", "avss": "semantic"}
HEADLINES = {
    "avs": ("miou", "f_score", "f_score_stepping_stones", "dataset_iou", "marked_share"),
    "avss": (
        "miou", "f_score", "miou_foreground", "miou_foreground_present", "dataset_miou", "pixel_accuracy", "avs_miou",
    ),
}  # fmt: skip
COUNTS = ("clips", "frames", "classes_seen")
CONFUSIONS = 8
"""How many mistakes are spelt out beside the matrix."""


def percent(value: float | None) -> str:
    """A fraction as people read it."""
    return "–" if value is None else f"{100 * value:.1f}"


def score_tables(evaluations: Sequence[Evaluation], subset: str) -> list[dict[str, Any]]:
    """One table for each task: a column for each evaluation, a row for each metric, the headlines first."""
    tables = []
    for task in TASKS:
        mine = [e for e in evaluations if e.task == task]
        if not mine:
            continue
        subsets = sorted({name for e in mine for name in e.content["scores"]["subsets"]})
        parts = [{"name": subset, "rows": _metric_rows(task, [e.scores(subset) for e in mine])}]
        if subset == "all" and len(subsets) > 1:
            named = ((name, [e.content["scores"]["subsets"].get(name) for e in mine]) for name in subsets)
            parts += [{"name": name, "rows": _metric_rows(task, scores)} for name, scores in named]
        tables.append({"title": TITLES[task], "task": task, "columns": [_column(e) for e in mine], "parts": parts})
    return tables


def _column(evaluation: Evaluation) -> dict[str, str]:
    return {
        "name": evaluation.scored,
        "prior": f"prior {evaluation.prior}" if evaluation.prior else "",
        "sound": "" if evaluation.sound == "original" else f"sound: {evaluation.sound}",
        "subset": "" if evaluation.subset == "all" else f"only {evaluation.subset}",
    }


def _metric_rows(task: str, columns: Sequence[Mapping[str, float] | None]) -> list[dict[str, Any]]:
    rows = []
    for name, meaning in MEANINGS[KINDS[task]].items():
        values = [None if scores is None else scores.get(name) for scores in columns]
        if any(value is not None for value in values):
            shown = [_count(value) if name in COUNTS else percent(value) for value in values]
            rows.append({"name": name, "meaning": meaning, "values": shown, "headline": name in HEADLINES[task]})
    order = {name: place for place, name in enumerate(HEADLINES[task])}
    return sorted(rows, key=lambda row: order.get(row["name"], len(order)))


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def prior_tables(
    runs: Sequence[RunFacts], evaluations: Sequence[Evaluation], everyone: Sequence[RunFacts]
) -> list[dict[str, Any]]:
    """For each run of two stages what each prior gives it, beside the prior's own accuracy and the gap to the oracle.

    Args: everyone: runs among which single-stage models are found to compare with.
    """
    single = {run.key for run in everyone if run.task == "avss" and not run.takes_prior}
    tables = []
    for run in runs:
        mine = [e for e in evaluations if run.key in e.runs and e.prior and e.sound == "original" and e.task == "avss"]
        widest = max((e.content["scores"]["all"]["clips"] for e in mine), default=0)
        mine = [e for e in mine if e.content["scores"]["all"]["clips"] == widest]
        if not mine:
            continue
        alone = [
            e for e in evaluations
            if set(e.runs) & single and e.sound == "original" and e.content["scores"]["all"]["clips"] == widest
        ]  # fmt: skip
        rows = compare_priors([Report(e.path, e.content) for e in (*mine, *alone)])
        tables.append({"run": run, "rows": rows, "clips": int(widest)})
    return tables


def prior_chart(tables: Sequence[Mapping[str, Any]]) -> str:
    """Stage 2's mIoU against its prior's."""
    points: dict[str, dict[str, tuple[float, float]]] = {}
    levels: dict[str, float] = {}
    for table in tables:
        with_prior = [row for row in table["rows"] if row["prior"] is not None and row["prior_miou"] is not None]
        points[table["run"].key] = {row["prior"]: (100 * row["prior_miou"], 100 * row["miou"]) for row in with_prior}
        levels |= {f"single stage: {row['run']}": 100 * row["miou"] for row in table["rows"] if row["prior"] is None}
    title = "mIoU of stage 2 against the accuracy (mIoU) of the prior it is given; the numbers are in the table"
    return point_chart(points, levels, title=title, x="prior's own mIoU, %", y="mIoU of stage 2, %", name="priors")


def curve_charts(runs: Sequence[RunFacts]) -> list[dict[str, str]]:
    """Loss and validation mIoU of all runs, for each task that has any."""
    charts = []
    for task in TASKS:
        mine = [run for run in runs if run.task == task and run.history]
        for key, label, scale in (("loss", "loss", 1), ("miou", "validation mIoU, %", 100)):
            lines = [_line(run, key, scale) for run in mine]
            lines = [line for line in lines if line.points]
            if not lines:
                continue
            title = f"{label} after each epoch: {TITLES[task]}; the numbers are in the tables of the runs"
            svg = line_chart(lines, title=title, x="epoch", y=label, name=f"{task}-{key}", from_zero=scale > 1)
            charts.append({"title": f"{TITLES[task].split(':')[0]}: {label.removesuffix(', %')}", "svg": svg})
    return charts


def _line(run: RunFacts, key: str, scale: int) -> Line:
    points = [(epoch, scale * value) for epoch, value in finite_points(run.history, key)]
    epochs = [epoch for epoch, _ in points]
    best = run.best.get("epoch")
    return Line(run.name, points, epochs.index(best) if key == "miou" and best in epochs else None)


def class_table(mains: Sequence[tuple[RunFacts, Evaluation]], subset: str) -> dict[str, Any] | None:
    """A row for each class that occurs, with a bar and the numbers of each run; the worst of the first run first."""
    columns = [{row["class"]: row for row in evaluation.classes(subset)} for _, evaluation in mains]
    names = list(dict.fromkeys(name for column in columns for name in column))
    if not names:
        return None
    rows = [{"name": name, "cells": [column.get(name) for column in columns]} for name in names]
    rows.sort(key=lambda row: (row["cells"][0] or {}).get("iou", 2.0))
    return {"columns": [_column(evaluation) for _, evaluation in mains], "rows": rows}


def confusion_table(matrix: np.ndarray, classes: Sequence[str]) -> dict[str, Any] | None:
    """The classes that occur, each row's pixels as shares of its class, and the largest mistakes in words."""
    found = [k for k in range(len(classes)) if matrix[k].any() or matrix[:, k].any()]
    if not found:
        return None
    part = matrix[np.ix_(found, found)]
    shares = part / np.maximum(part.sum(axis=1, keepdims=True), 1)
    names = [classes[k] for k in found]
    rows = [
        {"name": name, "pixels": int(part[i].sum()), "cells": [_cell(share) for share in shares[i].tolist()]}
        for i, name in enumerate(names)
    ]
    wrong = np.where(np.eye(len(found), dtype=bool), 0, part)
    order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
    places = [tuple(int(x) for x in np.unravel_index(place, wrong.shape)) for place in order]
    mistakes = [
        {"target": names[i], "predicted": names[j], "share": percent(shares[i, j])} for i, j in places if wrong[i, j]
    ]
    return {"names": names, "rows": rows, "mistakes": mistakes}


def _cell(share: float) -> dict[str, Any]:
    """A share as text, and the step of its colour: 0 (none) to 9."""
    text = "" if share == 0 else "<1" if share < 0.01 else f"{100 * share:.0f}"
    return {"text": text, "step": 0 if share == 0 else min(9, 1 + int(9 * share))}
