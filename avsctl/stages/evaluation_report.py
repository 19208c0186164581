"""What an evaluation leaves: a JSON of every score, and csv files of the classes, their confusion and the clips."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avsctl.caches.files import hash_of, whole_file, write_json
from avsctl.caches.locks import sole_writer
from avsctl.errors import AvsctlError
from avsctl.metrics import BinaryScores, SemanticScores
from avsctl.metrics.accumulate import ClipScore
from avsctl.metrics.bootstrap import ClipSums

PER_CLASS = ("frames", "iou", "f_score", "dataset_iou", "dataset_f_score", "target_pixels", "predicted_pixels")
CONFUSION = ("subset", "target", "predicted", "pixels")
PER_CLIP = ("subset", "uid", "index", "frames", "iou", "f_score")
CLIP_SCORES = {"miou": "iou", "f_score": "f_score", "avs_miou": "iou", "avs_f_score": "f_score"}
"""Scores that can be computed again from the csv of the clips, and its column for each."""


@dataclass(frozen=True)
class Report:
    """One evaluation: a run (or stage 1's runs by subset) with one prior on one kind of sound, or a folder of masks.

    Attributes:
        path: of its JSON; beside it lie a csv of the clips and, for the task avss, those of the classes and of
            their confusion.
        content: what the JSON holds.
    """

    path: Path
    content: dict[str, Any]


def report_name(
    task: str,
    runs: Sequence[str],
    prior: str | None,
    subset: str,
    sound: str = "original",
    *,
    binary_labels: str = "bilinear",
    precision: str = "fp32",
) -> str:
    """A report's file without its ending: what was scored, then what differs from the usual.

    Args:
        sound: a change of the sound with its seed, without characters that files may not have.
    """
    run = runs[0] if len(runs) == 1 else f"routed-{hash_of(*runs)[:8]}"
    usual = {"bilinear", "fp32"}
    parts = [task, run, prior or "none", subset, sound, *(p for p in (binary_labels, precision) if p not in usual)]
    return ".".join(part.replace("/", "-") for part in parts)


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


def write_report(folder: Path, name: str, content: dict[str, Any], scores: BinaryScores | SemanticScores) -> Report:
    """Write `<name>.clips.csv`, for classes `<name>.csv` and `<name>.confusion.csv`, and last the JSON."""
    path = folder / f"{name}.json"
    tables = [path.with_suffix(ending) for ending in (".clips.csv", ".csv", ".confusion.csv")]
    with sole_writer(path, also=tables, wait=True):  # the files of one report belong together
        _write_csv(path.with_suffix(".clips.csv"), PER_CLIP, (_clip_row(clip) for clip in scores.per_clip()))
        if isinstance(scores, SemanticScores):
            _write_classes(path, content["per_class"], scores)
        return Report(write_json(path, content), content)


def _write_classes(path: Path, tables: Mapping[str, list[dict]], scores: SemanticScores) -> None:
    rows = ([subset, *row.values()] for subset, table in tables.items() for row in table)
    _write_csv(path.with_suffix(".csv"), ("subset", "index", "class", *PER_CLASS), rows)
    _write_csv(path.with_suffix(".confusion.csv"), CONFUSION, _confusion_rows(scores, list(tables)))


def _confusion_rows(scores: SemanticScores, subsets: Sequence[str]) -> Iterable[list[Any]]:
    """The cells that are not 0: pixels of a target class that were given a class, by class index."""
    for subset in subsets:
        confusion = scores.confusion(None if subset == "all" else subset)
        for target, predicted in np.argwhere(confusion).tolist():
            yield [subset, target, predicted, int(confusion[target, predicted])]


def _clip_row(clip: ClipScore) -> list[Any]:
    return ["" if value is None else value for value in (getattr(clip, column) for column in PER_CLIP)]


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    with whole_file(path) as part:
        part.write_text(table.getvalue(), encoding="utf-8")


def read_clip_sums(report: Report, score: str, subset: str = "all") -> ClipSums:
    """What each clip adds to a score of a report, in the order of the csv.

    Args:
        score: one of `CLIP_SCORES`. subset: one of the report's, or `all`.
    Raises: AvsctlError: If the csv of the clips is missing, unreadable, or without a clip of the subset.
    """
    path = report.path.with_suffix(".clips.csv")
    by_class = report.content["task"] == "avss" and not score.startswith("avs_")
    classes = report.content["clips"]["classes"] if by_class else 1
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = [row for row in csv.DictReader(handle) if subset in ("all", row["subset"])]
        clips = list(dict.fromkeys((row["subset"], row["uid"]) for row in rows))
        place = {clip: number for number, clip in enumerate(clips)}
        sums, counts = np.zeros((len(clips), classes)), np.zeros((len(clips), classes))
        for row in rows:
            if by_class == (row["index"] == ""):
                continue
            # Clips weigh the same as sounding masks; the frames of a class do.
            cell = (place[row["subset"], row["uid"]], int(row["index"]) if by_class else 0)
            counts[cell] = int(row["frames"]) if by_class else 1
            sums[cell] = counts[cell] * float(row[CLIP_SCORES[score]])
    except FileNotFoundError:
        raise AvsctlError(f"{path} is missing. Run 'avsctl evaluate' again for it.") from None
    except (KeyError, ValueError, IndexError, UnicodeDecodeError, csv.Error) as error:
        raise AvsctlError(f"{path} is not a table of clips ({error}). Run 'avsctl evaluate' again for it.") from None
    if not clips:
        raise AvsctlError(f"{path} has no clip of subset {subset}. Run 'avsctl evaluate' again for it.")
    return ClipSums(tuple(clips), sums, counts)
