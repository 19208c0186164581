"""What an evaluation leaves: a JSON of every score, and a csv of the classes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsctl.caches.files import whole_file, write_json
from avsctl.metrics import SemanticScores

PER_CLASS = ("frames", "iou", "f_score", "dataset_iou", "dataset_f_score", "target_pixels", "predicted_pixels")


@dataclass(frozen=True)
class Report:
    """One evaluation: a run (or stage 1's runs by subset) with one prior on one kind of sound, or a folder of masks.

    Attributes:
        path: of its JSON; the task avss has a csv of the classes beside it.
        content: what the JSON holds.
    """

    path: Path
    content: dict[str, Any]


def per_class(scores: SemanticScores, subsets: Sequence[str], classes: Sequence[str]) -> dict[str, list[dict]]:
    """For all clips and each subset one row per class, in index order."""
    tables = {}
    for name in ("all", *subsets):
        columns = scores.per_class(None if name == "all" else name)
        tables[name] = [
            {"index": index, "class": label, **{column: columns[column][index].item() for column in PER_CLASS}}
            for index, label in enumerate(classes)
        ]
    return tables


def write_report(folder: Path, name: str, content: dict[str, Any]) -> Report:
    """Write `<name>.json`, and for a content with `per_class` before it the table `<name>.csv`."""
    path = folder / f"{name}.json"
    if "per_class" in content:
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["subset", "index", "class", *PER_CLASS])
        for subset, rows in content["per_class"].items():
            writer.writerows([subset, *row.values()] for row in rows)
        with whole_file(path.with_name(f"{name}.csv")) as part:
            part.write_text(table.getvalue(), encoding="utf-8")
    return Report(write_json(path, content), content)
