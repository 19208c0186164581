"""What `evaluate` left, as a report needs it: evaluations that still hold, their clips' scores and their confusion."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avsctl.caches.files import read_json
from avsctl.errors import AvsctlError
from avsctl.stages.evaluate import COMPARED
from avsctl.stages.evaluation_plan import ALL_PRIORS
from avsctl.stages.evaluation_report import CONFUSION, PER_CLASS, PER_CLIP
from avsctl.stages.report_runs import RunFacts
from avsctl.workspace import TASKS

MAIN_PRIORS = ("predicted", *(name for name in ALL_PRIORS if name != "predicted"))
"""Which prior's evaluation stands for a run of two stages, the first that was scored."""
WORST_BY = {"avs": "miou", "avss": "miou_foreground_present"}
"""The score of a clip that decides which clips are worst."""

ClipScores = dict[tuple[str, str], dict[str, float | None]]
"""By (subset, uid): the scores of that clip alone, under the names of `MEANINGS`; None where nothing can be scored."""


@dataclass(frozen=True)
class Evaluation:
    """One report of `evaluate`.

    Attributes:
        runs: keys of the report's runs that it scored; empty for masks of another program.
        scored: names of what it scored, for people.
    """

    path: Path
    content: dict[str, Any]
    runs: tuple[str, ...]
    scored: str

    @property
    def task(self) -> str:
        """`avs` or `avss`."""
        return self.content["task"]

    @property
    def prior(self) -> str | None:
        """The prior's name, None without one."""
        prior = self.content.get("prior")
        return prior["name"] if prior else None

    @property
    def sound(self) -> str:
        """How the sound was changed, `original` where it was not."""
        return self.content.get("audio", {}).get("change", "original")

    @property
    def subset(self) -> str:
        """The subset that was asked for."""
        return self.content["subset"]

    def scores(self, subset: str = "all") -> dict[str, float] | None:
        """Every score of a subset, None if that was not scored."""
        scores = self.content["scores"]
        return scores["all"] if subset in ("all", self.subset) else scores["subsets"].get(subset)

    def classes(self, subset: str = "all") -> list[dict[str, Any]]:
        """The rows of the classes that occur, in index order."""
        tables = self.content.get("per_class", {})
        rows = tables.get(subset) or tables.get("all", [])
        return [row for row in rows if row["target_pixels"] or row["predicted_pixels"]]

    def clip_scores(self) -> ClipScores:
        """The scores of each clip alone.

        Raises: AvsctlError: If the table beside the report is missing or damaged.
        """
        return _read_table(self.path.with_suffix(".clips.csv"), PER_CLIP, lambda rows: _clip_scores(rows, self.task))

    def confusion(self, subset: str = "all") -> np.ndarray:
        """(K, K) int64 pixels, rows by target, columns by prediction.

        Raises: AvsctlError: If the table beside the report is missing or damaged.
        """
        size = len(next(iter(self.content["per_class"].values())))
        scope = subset if subset in self.content["per_class"] else "all"
        path = self.path.with_suffix(".confusion.csv")
        return _read_table(path, CONFUSION, lambda rows: _confusion(rows, scope, size))


def read_evaluations(
    folder: Path, runs: Sequence[RunFacts], clips: str | None, *, subset: str, only: bool
) -> tuple[list[Evaluation], list[str]]:
    """The evaluations of a split that still hold, and one line for each that is left out.

    Args:
        folder: `reports/<split>`.
        clips: fingerprint of the workspace's clips, None where unknown.
        subset: evaluations without clips of it are left out unsaid.
        only: leave out unsaid what none of `runs` made.
    """
    found, problems = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            evaluation = _evaluation(path, runs, clips)
        except AvsctlError as error:
            problems.append(str(error))
            continue
        if (evaluation.runs or not only) and evaluation.scores(subset) is not None:
            found.append(evaluation)
    return sorted(found, key=_order), problems


def main_evaluation(evaluations: Sequence[Evaluation], run: RunFacts, prior: str | None = None) -> Evaluation | None:
    """The evaluation that stands for a run: with unchanged sound, of the most clips, with the prior given or the first
    of `MAIN_PRIORS`."""
    mine = [e for e in evaluations if run.key in e.runs and e.task == run.task and e.sound == "original"]
    mine = [e for e in mine if prior is None or not run.takes_prior or e.prior == prior]
    rank = {name: number for number, name in enumerate(MAIN_PRIORS)}
    mine.sort(key=lambda e: (rank.get(e.prior or "", len(rank)), -e.content["scores"]["all"]["clips"]))
    return mine[0] if mine else None


def _evaluation(path: Path, runs: Sequence[RunFacts], clips: str | None) -> Evaluation:
    content = read_json(path)
    try:
        _check_form(content)
        scored = [_scored_run(path, entry, runs) for entry in content.get("runs", ())]
        names = [entry["name"] for entry in content.get("runs", ())]
        label = " + ".join(names) if names else f"masks {Path(content['predictions']['folder']).name}"
        made_from = content["clips"]["fingerprint"]
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise AvsctlError(
            f"{path} is no report of this version ({error}). Run 'avsctl evaluate' again for it."
        ) from None
    if clips is not None and made_from != clips:
        raise AvsctlError("Scores of other clips than the workspace's are left out. Run 'avsctl evaluate' again.")
    return Evaluation(path, content, tuple(key for key in scored if key), label)


def _check_form(content: dict[str, Any]) -> None:
    """Raises: KeyError, TypeError, ValueError or AttributeError: If it is not of the form that `evaluate` writes."""
    if content["task"] not in TASKS or not isinstance(content["subset"], str):
        raise ValueError("its task or subset is unknown")
    scores, needed = content["scores"], ("clips", "frames", "miou")
    _check_numbers([scores["all"]], COMPARED if content["task"] == "avss" else needed)
    _check_numbers([*scores["subsets"].values()], needed)
    for rows in content.get("per_class", {}).values():
        _check_numbers(rows, PER_CLASS, texts=("class",))
    if content.get("prior"):
        prior = content["prior"]
        if not isinstance(prior["name"], str) or not isinstance(prior["miou"]["all"], (float, int, type(None))):
            raise ValueError("its prior has no name or mIoU")


def _check_numbers(rows: Sequence[dict[str, Any]], needed: Sequence[str], texts: Sequence[str] = ()) -> None:
    for row in rows:
        lacking = [name for name in (*needed, *texts) if name not in row]
        wrong = [name for name, value in row.items() if not isinstance(value, (str if name in texts else (int, float)))]
        if lacking or wrong:
            raise ValueError(f"it lacks numbers: {', '.join([*lacking, *wrong])}")


def _scored_run(path: Path, entry: dict[str, Any], runs: Sequence[RunFacts]) -> str | None:
    """The key of the run that was scored, None if it is none of these.

    Raises: AvsctlError: If that run was trained again since.
    """
    same = [run for run in runs if run.weights == entry["weights"]]
    if same:
        return same[0].key
    task = path.name.split(".")[0]
    if any(run.name == entry["name"] and run.task == task for run in runs):
        raise AvsctlError(
            f"Scores of an earlier training of {task}/{entry['name']} are left out. Run 'avsctl evaluate' again."
        )
    return None


def _order(evaluation: Evaluation) -> tuple:
    rank = {name: number for number, name in enumerate(ALL_PRIORS)}
    prior, sound = rank.get(evaluation.prior or "", len(rank)), evaluation.sound
    place = (TASKS.index(evaluation.task), sound != "original", sound, evaluation.scored)
    return *place, evaluation.subset != "all", prior, evaluation.path.name


def _read_table(path: Path, columns: Sequence[str], read: Callable[[Iterator[dict[str, str]]], Any]) -> Any:
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = csv.DictReader(handle)
            if tuple(rows.fieldnames or ()) != tuple(columns):
                raise ValueError(f"its columns are not {', '.join(columns)}")
            return read(rows)
    except FileNotFoundError:
        raise AvsctlError(f"{path.name} is missing. Run 'avsctl evaluate' again.") from None
    except (KeyError, TypeError, ValueError, IndexError, UnicodeDecodeError, csv.Error) as error:
        raise AvsctlError(f"{path.name} is damaged ({error}). Run 'avsctl evaluate' again.") from None


def _clip_scores(rows: Iterator[dict[str, str]], task: str) -> ClipScores:
    prefix = "" if task == "avs" else "avs_"
    found: ClipScores = {}
    classes: dict[tuple[str, str], dict[int, tuple[float, float]]] = {}
    for row in rows:
        key, values = (row["subset"], row["uid"]), (float(row["iou"]), float(row["f_score"]))
        if row["index"] == "":
            found[key] = {f"{prefix}miou": values[0], f"{prefix}f_score": values[1]}
        else:
            classes.setdefault(key, {})[int(row["index"])] = values
    if task == "avs":
        return found
    return {key: {**_class_means(classes.get(key, {})), **scores} for key, scores in found.items()}


def _class_means(classes: dict[int, tuple[float, float]]) -> dict[str, float | None]:
    foreground = [values for index, values in classes.items() if index]
    means = {}
    for way, values in (("foreground_present", foreground), ("present", list(classes.values()))):
        for name, column in (("miou", 0), ("f_score", 1)):
            means[f"{name}_{way}"] = float(np.mean([value[column] for value in values])) if values else None
    return means


def _confusion(rows: Iterator[dict[str, str]], subset: str, size: int) -> np.ndarray:
    matrix = np.zeros((size, size), np.int64)
    for row in rows:
        target, predicted = int(row["target"]), int(row["predicted"])
        if min(target, predicted) < 0:
            raise IndexError("an index is negative")
        if row["subset"] == subset:
            matrix[target, predicted] = int(row["pixels"])
    return matrix
