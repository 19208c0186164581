"""What a report says of training runs: what was trained on what, and how far it came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avsctl.caches.files import hash_of_file, read_json
from avsctl.errors import AvsctlError
from avsctl.workspace import TASKS, Run, Workspace


@dataclass(frozen=True)
class RunFacts:
    """A run as its files describe it.

    Attributes:
        key: `<task>/<name>`, how the page names it.
        options: `config.json`; record: `record.json`; both empty where unreadable.
        weights: hash of the best model's file, as evaluations record it; None without one.
        seconds: of training so far, None where unknown.
        problem: one line on why its files can't be read, or empty.
    """

    run: Run
    task: str
    options: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    seconds: float | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def key(self) -> str:
        """Task and name."""
        return f"{self.task}/{self.run.name}"

    @property
    def complete(self) -> bool:
        """Whether its training ran to the end and left a model."""
        return bool(self.record.get("complete")) and self.weights is not None

    @property
    def takes_prior(self) -> bool:
        """Whether it is a model of two stages."""
        return self.task == "avss" and self.options.get("prior", "none") != "none"

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was measured after each epoch."""
        history = self.record.get("history")
        return [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else []

    @property
    def best(self) -> dict[str, Any]:
        """What was measured after the best epoch, empty before the first."""
        best = self.record.get("best")
        return best if isinstance(best, dict) else {}


def find_runs(workspace: Workspace, names: Sequence[str]) -> list[RunFacts]:
    """The runs that are named, in that order, or all of the workspace: complete or not, the newest first of each task.

    Args: names: a run's name, `<task>/<name>` where both tasks have one of that name, or a run's folder.
    Raises: AvsctlError: If a named run is not there.
    """
    if names:
        return [read_run(_named(workspace, name)) for name in dict.fromkeys(names)]
    folders = [path.parent for task in TASKS for path in (workspace.root / "runs" / task).glob("*/config.json")]
    found = [read_run(Run(folder)) for folder in sorted(folders)]
    newest = sorted(found, key=lambda facts: _finished_at(facts.run), reverse=True)
    return sorted(newest, key=lambda facts: TASKS.index(facts.task))


def read_run(run: Run) -> RunFacts:
    """Read a run's files; what can't be read becomes its `problem`."""
    task = run.folder.parent.name if run.folder.parent.name in TASKS else "avss"
    try:
        options, record = run.options, run.record
        if not isinstance(options, dict) or not isinstance(record, dict) or record.get("task") not in TASKS:
            raise AvsctlError(f"{run.folder} is no run of this version. Delete it and train again.")
    except AvsctlError as error:
        return RunFacts(run, task, problem=str(error))
    weights = hash_of_file(run.weights) if run.weights.is_file() else None
    return RunFacts(run, record["task"], options, record, weights, _seconds(run.folder / "timing.json"))


def _named(workspace: Workspace, name: str) -> Run:
    places = [Path(name), *(workspace.root / "runs" / part / name for part in ("", *TASKS))]
    found = list(dict.fromkeys(path.resolve() for path in places if (path / "record.json").is_file()))
    if len(found) > 1:
        choices = " or ".join(f"{path.parent.name}/{path.name}" for path in found)
        raise AvsctlError(f"There are several runs named {name}. Give --run {choices}.")
    if not found:
        known = ", ".join(f"{run.folder.parent.name}/{run.name}" for run in workspace.runs()) or "none"
        raise AvsctlError(f"No run named {name}. Runs of this workspace: {known}.")
    return Run(found[0])


def _finished_at(run: Run) -> float:
    record = run.folder / "record.json"
    return record.stat().st_mtime if record.exists() else 0.0


def _seconds(path: Path) -> float | None:
    try:
        seconds = read_json(path)["seconds"]
        return float(seconds[-1]) if seconds else None
    except (AvsctlError, KeyError, TypeError, ValueError):
        return None
