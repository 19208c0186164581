"""One folder with fixed names, so that every command finds what the step before it wrote."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from avsctl.caches.files import read_json
from avsctl.errors import AvsctlError

TASKS = ("avs", "avss")


@dataclass(frozen=True)
class Workspace:
    """The fixed places of a workspace.

    Args:
        root: the workspace's folder; it need not exist yet.
    """

    root: Path

    @property
    def clips(self) -> Path:
        """Frames, labels and sound, made by `prepare`."""
        return self.root / "clips.h5"

    @property
    def audio(self) -> Path:
        """One audio embedding per frame, made by `extract-audio`."""
        return self.root / "audio.h5"

    def prior(self, name: str) -> Path:
        """A prior cache: `predicted`, `low`, `high`, `masks` or a chosen name, made by `predict-priors`."""
        return self.root / "priors" / f"{name}.h5"

    def features(self, name: str) -> Path:
        """A frozen backbone's maps, made by training with `--cache-features`."""
        return self.root / "features" / f"{name}.h5"

    @property
    def reports(self) -> Path:
        """Scores, made by `evaluate`."""
        return self.root / "reports"

    @property
    def visualizations(self) -> Path:
        """Pictures and videos, made by `visualize`."""
        return self.root / "visualize"

    def run_folder(self, task: str, name: str) -> Path:
        """Where a training run lives."""
        return self.root / "runs" / task / name

    def runs(self, task: str | None = None) -> list[Run]:
        """All runs of a task (or of both), the newest first."""
        folders = [path for name in TASKS if task in (None, name) for path in (self.root / "runs" / name).glob("*")]
        runs = [Run(path) for path in folders if (path / "record.json").exists()]
        return sorted(runs, key=lambda run: (run.finished_at, run.name), reverse=True)

    def find_run(self, task: str, run: str | None = None, *, subset: str | None = None, **fits: str | None) -> Run:
        """The run that a command means: by name or folder, else the newest completed one that fits.

        Args:
            run: the name of a run in this workspace, a run's folder, or a checkpoint's file.
            subset: the subset it must serve; a run trained on all serves every subset.
            fits: options that its record must hold, e.g. `prior="oracle"`; None means any.
        Raises: AvsctlError: If there is none, or if the named one is unfinished or of another task.
        """
        if run is not None:
            return self._named_run(task, run)
        wanted = {name: value for name, value in fits.items() if value is not None}
        found = [
            candidate
            for candidate in self.runs(task)
            if candidate.complete
            and (subset is None or candidate.options["subset"] in (subset, "all"))
            and all(candidate.options.get(name) == value for name, value in wanted.items())
        ]
        if found:
            # A run of the very subset goes before a newer one trained on all.
            return next((r for r in found if r.options["subset"] == subset), found[0])
        asked = "".join(f" --{name} {value}" for name, value in {"subset": subset, **wanted}.items() if value)
        raise AvsctlError(
            f"No completed {task} run fits in {self.root / 'runs' / task}. Run 'avsctl train-{task}{asked}' first."
        )

    def task_of(self, run: str) -> str:
        """The task of a run that is named without it: a name in this workspace, or a folder.

        Raises: AvsctlError: If there is no such run, or one of each task.
        """
        if (Path(run) / "record.json").exists():
            return Run(Path(run)).task
        tasks = [task for task in TASKS if (self.run_folder(task, run) / "record.json").exists()]
        if len(tasks) > 1:
            folders = " or ".join(str(self.run_folder(task, run)) for task in tasks)
            raise AvsctlError(f"There is a run {run} of each task. Give its folder: {folders}.")
        if not tasks:
            known = ", ".join(f"{one.task}/{one.name}" for one in self.runs()) or "none"
            raise AvsctlError(f"No run named {run}. Runs of this workspace: {known}.")
        return tasks[0]

    def _named_run(self, task: str, run: str) -> Run:
        if Path(run).is_file():
            return BareRun(Path(run), task)
        folder = Path(run) if (Path(run) / "record.json").exists() else self.run_folder(task, run)
        if not (folder / "record.json").exists():
            known = ", ".join(r.name for r in self.runs(task)) or "none"
            raise AvsctlError(f"No {task} run named {run}. Runs of this workspace: {known}.")
        found = Run(folder)
        if found.task != task:
            raise AvsctlError(
                f"{folder} is a run of task {found.task}, not {task}. Give a run made by 'avsctl train-{task}'."
            )
        if not found.complete:
            raise AvsctlError(f"{folder} is unfinished. Continue it with '{found.resume_command}'.")
        return found


@dataclass(frozen=True)
class Run:
    """A training run's folder: `config.json`, `record.json`, `model.safetensors` and the learning curve."""

    folder: Path

    @property
    def name(self) -> str:
        """`<model>-<preset>-<subset>-<prior>-s<seed>`."""
        return self.folder.name

    @property
    def record(self) -> dict:
        """The readable record: versions, fingerprints, per-epoch history, best epoch.

        Raises: AvsctlError: If it is damaged, or of another version.
        """
        content = self._read("record.json", {"task": str, "complete": bool, "classes": list, "data": dict})
        for name in ("history", "best"):
            if not isinstance(content.get(name), (list, dict, type(None))):
                raise self._no_run("record.json", name)
        if content["task"] not in TASKS or not all(isinstance(name, str) for name in content["classes"]):
            raise self._no_run("record.json", "task")
        if not isinstance(content["data"].get("encoder"), str):
            raise self._no_run("record.json", "data")
        return content

    @property
    def options(self) -> dict:
        """The resolved options it was trained with.

        Raises: AvsctlError: If they are damaged, or of another version.
        """
        return self._read("config.json", {"subset": str})

    def _read(self, file: str, needed: dict[str, type]) -> dict:
        content = read_json(self.folder / file)
        for name, kind in needed.items():
            if not isinstance(content, dict) or not isinstance(content.get(name), kind):
                raise self._no_run(file, name)
        return content

    def _no_run(self, file: str, name: str) -> AvsctlError:
        return AvsctlError(
            f"{self.folder} is no run of this version ({file} has no usable {name}). Delete it and train again."
        )

    @property
    def task(self) -> str:
        """`avs` or `avss`."""
        return self.record["task"]

    @property
    def complete(self) -> bool:
        """Whether its training ran to the end."""
        return bool(self.record["complete"]) and self.weights.exists()

    @property
    def finished_at(self) -> float:
        """When its record was last written, in seconds; orders runs from old to new."""
        return (self.folder / "record.json").stat().st_mtime

    @property
    def weights(self) -> Path:
        """The best epoch's whole model."""
        return self.folder / "model.safetensors"

    @property
    def resume_command(self) -> str:
        """What continues it."""
        return f"avsctl train-{self.task} --config {shlex.quote(str(self.folder / 'config.json'))} --resume"


@dataclass(frozen=True)
class BareRun(Run):
    """A checkpoint without a run's record, such as a released one: it serves every subset.

    Args:
        folder: the file itself.
        given_task: what it is used for; loading it tells whether it is such a model.
    """

    given_task: str

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.folder.stem

    @property
    def record(self) -> dict:
        """Nothing is known but the task."""
        return {"task": self.given_task, "complete": True, "classes": None, "data": {"encoder": None}}

    @property
    def options(self) -> dict:
        """As the released models were trained: stage 2 on the ground truth as its prior."""
        return {"subset": "all"} if self.given_task == "avs" else {"subset": "all", "prior": "oracle"}

    @property
    def weights(self) -> Path:
        """The file."""
        return self.folder
