"""What an experiment is made of: trainings, priors and evaluations, each an ordinary command with a known result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.files import hash_of, hash_of_file, read_json, sha256_of_file
from avsctl.caches.header import check_made_from
from avsctl.caches.priors import PriorCache
from avsctl.configs import TrainConfig, resolve_training
from avsctl.stages.evaluation_report import Report, report_name
from avsctl.workspace import Run, Workspace

THERE, MISSING = "there", "missing"
UNTOUCHED = ("name", "task", "command")
"""Options of a training on which what it learns doesn't depend."""
DEFAULT_SEED = TrainConfig("avs").seed


@dataclass(frozen=True)
class Model:
    """A network at one of its sizes.

    Args: label: as the user named it.
    """

    name: str
    preset: str
    label: str


class Cell(Protocol):
    """One ordinary command."""

    @property
    def title(self) -> str:
        """For lists, messages and logs."""

    @property
    def needs(self) -> tuple[Cell, ...]:
        """Cells whose results it reads."""

    def state(self) -> str:
        """`THERE` if the result is there and fresh, `MISSING`, or in words how far it is."""

    def words(self) -> list[str]:
        """The command that makes what is missing of it, without `avsctl` and the workspace."""


@dataclass(frozen=True)
class Place:
    """The workspace that cells live in, and how their commands run there.

    Args:
        words: options for every command, such as `--device cpu`.
        workers: options for the commands that would otherwise take all cores.
    """

    workspace: Workspace
    split: str = "test"
    precision: str = "fp32"
    words: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()

    @cached_property
    def clips(self) -> ClipCache:
        """`clips.h5`."""
        return ClipCache(self.workspace.clips)

    @cached_property
    def audio(self) -> AudioCache:
        """`audio.h5`, which must belong to the clips."""
        clips = self.clips  # first: what is missing is named in the order in which it is made
        cache = AudioCache(self.workspace.audio)
        check_made_from(cache.path, cache.header["inputs"], "clips", clips.fingerprint)
        return cache


@dataclass(frozen=True)
class Training:
    """A run of `train-avs` or `train-avss`.

    Args:
        config: all its options. given: those that its command must name.
        name: of the run: that of a run with just these options where there is one.
    """

    place: Place = field(repr=False, compare=False)
    config: TrainConfig
    given: tuple[tuple[str, Any], ...]
    name: str
    needs: tuple[Cell, ...] = ()

    @property
    def title(self) -> str:
        """Its command and its run."""
        return f"train-{self.config.task}.{self.name}"

    @property
    def run(self) -> Run:
        """The run's folder, which need not exist yet."""
        return Run(self.place.workspace.run_folder(self.config.task, self.name))

    def state(self) -> str:
        """Whether the run is there, unfinished or missing."""
        if not (self.run.folder / "record.json").exists():
            return MISSING
        if self.run.complete:
            return THERE
        return f"epoch {len(self.run.record['history'])} of {self.config.epochs}"

    def words(self) -> list[str]:
        """Train it, or go on with it."""
        words = [f"train-{self.config.task}", *option_words(dict(self.given)), *self.place.words]
        if self.name != self.config.run_name:
            words += ["--name", self.name]
        return words if self.state() == MISSING else [*words, "--resume"]


@dataclass(frozen=True)
class Prior:
    """A prior cache of the split: predicted by a run, or simulated with a given mIoU.

    Args:
        miou: of a simulated prior. source: the run of a predicted one.
    """

    place: Place = field(repr=False, compare=False)
    name: str
    miou: float | None = None
    source: Training | None = None

    @property
    def title(self) -> str:
        """Its kind and name."""
        return f"prior.{self.name}"

    @property
    def needs(self) -> tuple[Cell, ...]:
        """The run that predicts it."""
        return () if self.source is None else (self.source,)

    @property
    def path(self) -> Path:
        """The cache."""
        return self.place.workspace.prior(self.name)

    def state(self) -> str:
        """Whether the cache is there and of these clips and weights."""
        if not self.path.exists():
            return MISSING
        return THERE if self._fresh() else "out of date"

    def _fresh(self) -> bool:
        made = PriorCache(self.path).header
        if made["inputs"].get("clips") != self.place.clips.fingerprint:
            return False
        if self.source is None:
            return made["options"].get("miou") == self.miou
        return self.source.state() == THERE and set(made["options"]["weights"].values()) == {
            _weights_hashes(self.source.run.weights)[1]
        }

    def words(self) -> list[str]:
        """Make it, or make it again."""
        origin = ["--miou", f"{self.miou:g}"] if self.source is None else ["--run", self.source.name]
        words = ["predict-priors", *origin, "--split", self.place.split, "--out", str(self.path)]
        words += [*self.place.words, *self.place.workers]
        return [*words, "--overwrite"] if self.path.exists() else words


@dataclass(frozen=True)
class Evaluation:
    """A report of a run.

    Args:
        prior: a prior cache, a rule (`oracle`), or None for a model without a prior.
        binary_labels: by which labels of the task avs shrink.
    """

    place: Place = field(repr=False, compare=False)
    training: Training
    prior: Prior | str | None = None
    subset: str = "all"
    binary_labels: str = "bilinear"

    @property
    def name(self) -> str:
        """The report's, without the ending."""
        task = self.training.config.task
        return report_name(
            task, [self.training.name], self._prior_name, self.subset,
            binary_labels=self.binary_labels if task == "avs" else "bilinear", precision=self.place.precision,
        )  # fmt: skip

    @property
    def title(self) -> str:
        """Its kind and name."""
        return f"evaluate.{self.name}"

    @property
    def needs(self) -> tuple[Cell, ...]:
        """Its run and its prior."""
        return (self.training, self.prior) if isinstance(self.prior, Prior) else (self.training,)

    @property
    def path(self) -> Path:
        """The report."""
        return self.place.workspace.reports / self.place.split / f"{self.name}.json"

    @property
    def _prior_name(self) -> str | None:
        return self.prior.name if isinstance(self.prior, Prior) else self.prior

    def read(self) -> Report:
        """The report that is there."""
        return Report(self.path, read_json(self.path))

    def state(self) -> str:
        """Whether the report is there and of these weights, clips, sounds and priors."""
        if not self.path.exists():
            return MISSING
        return THERE if self._fresh() else "out of date"

    def _fresh(self) -> bool:
        if any(cell.state() != THERE for cell in self.needs) or not self.path.with_suffix(".clips.csv").exists():
            return False
        content = self.read().content
        prior = self.prior
        if isinstance(prior, Prior):
            prior = PriorCache(prior.path).fingerprint
        try:
            made = [content["runs"][0]["weights"], content["clips"]["fingerprint"], content["audio"]["fingerprint"]]
            made.append(content["prior"] and content["prior"]["fingerprint"])
        except (KeyError, IndexError, TypeError):
            return False  # written by another version
        weights = _weights_hashes(self.training.run.weights)
        return made == [weights[0], self.place.clips.fingerprint, self.place.audio.fingerprint, prior]

    def words(self) -> list[str]:
        """Score it."""
        words = ["evaluate", "--task", self.training.config.task, "--run", self.training.name]
        words += ["--split", self.place.split, "--subset", self.subset]
        if self._prior_name is not None:
            words += ["--prior", self._prior_name]
        if self.training.config.task == "avs" and self.binary_labels != "bilinear":
            words += ["--binary-labels", self.binary_labels]
        return [*words, *self.place.words]


class CellBook:
    """Makes the cells of an experiment; the same thing asked for twice is one cell.

    Args:
        options: of every training, by the name of its field in `TrainConfig`; `avs_epochs` of stage 1's alone.
    """

    def __init__(self, place: Place, options: Mapping[str, Any]):
        self.place = place
        self.options = dict(options)
        self._runs: dict[str, list[Run]] = {}
        self._trainings: dict[TrainConfig, Training] = {}

    def training(
        self,
        task: str,
        model: Model,
        seed: int,
        *,
        subset: str = "all",
        prior: str = "none",
        without: Sequence[str] = (),
        **more: Any,
    ) -> Training:
        """A run with these options, or the one that is there.

        Raises: AvsctlError: If the model, its preset or an option doesn't exist.
        """
        given = {"model": model.name, "preset": model.preset, "subset": subset, "seed": seed, **self.options, **more}
        avs_epochs = given.pop("avs_epochs", None)
        if task == "avs" and avs_epochs is not None:
            given["epochs"] = avs_epochs
        given |= {"without": tuple(without)} if without else {}
        given |= {"prior": prior} if task == "avss" else {}
        config = resolve_training(task, model.preset, subset, given)
        if config not in self._trainings:
            # The place gives the options that every command has.
            named = tuple((name, value) for name, value in given.items() if name != "precision")
            self._trainings[config] = Training(self.place, config, named, self._name(config))
        return self._trainings[config]

    def predicted(self, source: Training) -> Prior:
        """The priors that a stage-1 run gives."""
        return Prior(self.place, f"predicted-{source.name}-{self.place.split}", source=source)

    def simulated(self, miou: float) -> Prior:
        """Priors of a stage 1 of this mIoU."""
        return Prior(self.place, f"miou-{miou:g}-{self.place.split}", miou=miou)

    def evaluation(self, training: Training, prior: Prior | str | None = None, **options: Any) -> Evaluation:
        """A report of a run on the split."""
        return Evaluation(self.place, training, prior, **options)

    def _name(self, config: TrainConfig) -> str:
        """That of the run with just these options; else the usual one, with a hash of the options if it is taken."""
        if config.task not in self._runs:
            self._runs[config.task] = self.place.workspace.runs(config.task)
        wanted = _comparable(config.to_json())
        same = [run for run in self._runs[config.task] if _comparable(run.options) == wanted]
        if same:
            return next((run for run in same if run.complete), same[0]).name
        folder = self.place.workspace.run_folder(config.task, config.run_name)
        planned = any((one.config.task, one.name) == (config.task, config.run_name) for one in self._trainings.values())
        if not planned and not (folder / "record.json").exists():
            return config.run_name
        return f"{config.run_name}-{hash_of(repr(sorted(wanted.items())))[:8]}"


def _comparable(options: Mapping[str, Any]) -> dict[str, Any]:
    """A run's options without those that change nothing in what it learns; what it doesn't say was the default."""
    complete = asdict(TrainConfig("avs")) | dict(options)
    return {name: value for name, value in complete.items() if name not in UNTOUCHED}


def _weights_hashes(path: Path) -> tuple[str, str]:
    """As reports and as priors record them."""
    status = path.stat()
    return _hashes(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1000)
def _hashes(path: Path, changed: int, size: int) -> tuple[str, str]:
    return hash_of_file(path), sha256_of_file(path)


def option_words(options: Mapping[str, Any]) -> list[str]:
    """Options as they are typed: `{"epochs": 3, "augment": True}` is `--epochs 3 --augment`."""
    words = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is None:
            continue
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, (list, tuple)):
            words += [word for one in value for word in (flag, str(one))]
        else:
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return words


def in_order(cells: Iterable[Cell]) -> list[Cell]:
    """The cells and all that they need, each once, what is needed first."""
    found: dict[Cell, None] = {}

    def add(cell: Cell) -> None:
        for needed in cell.needs:
            add(needed)
        found.setdefault(cell)

    for cell in cells:
        add(cell)
    return list(found)


def seeds_of(count: int) -> tuple[int, ...]:
    """The seeds of an experiment: the trainings' default one and those after it."""
    return tuple(range(DEFAULT_SEED, DEFAULT_SEED + count))
