"""An experiment from its name to its table: runs what is missing, compares what is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avsctl.caches.files import whole_file, write_json
from avsctl.configs import auto_preset, split_model
from avsctl.errors import AvsctlError
from avsctl.rendering.charts import Bars, Curve, draw_bars, draw_prior_curves
from avsctl.stages.experiment_cells import Cell, CellBook, Model, Place, seeds_of
from avsctl.stages.experiment_markdown import to_markdown
from avsctl.stages.experiment_result import collect
from avsctl.stages.experiment_run import Launch, Outcome, run_cells
from avsctl.stages.experiment_tables import SINGLE, Plan, plan_experiment
from avsctl.workspace import Workspace


@dataclass(frozen=True)
class ExperimentConfig:
    """What an experiment compares.

    Args:
        name: of `experiment_tables.EXPERIMENTS`.
        models: the one that the others are compared with first.
        seeds: how many trainings of each kind.
        options: of every training, by the name of its field in `TrainConfig`; `avs_epochs` is stage 1's.
        device, precision: of every command.
        command: what was typed, for the record.
    """

    name: str
    models: tuple[Model, ...]
    seeds: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    precision: str = "fp32"
    command: str = ""


@dataclass(frozen=True)
class Result:
    """A finished experiment.

    Args:
        content: what its JSON holds; paths: of the Markdown, the JSON and the PNG.
    """

    content: dict[str, Any]
    paths: tuple[Path, ...]


def make_plan(workspace: Workspace, config: ExperimentConfig, *, jobs: int = 1) -> Plan:
    """Say which cells stand where; nothing is run.

    Raises: AvsctlError: If a cache is missing, or the dataset, a model or an option doesn't fit.
    """
    words: tuple[str, ...] = () if config.device == "auto" else ("--device", config.device)
    words += () if config.precision == "fp32" else ("--precision", config.precision)
    place = Place(workspace, precision=config.precision, words=words, workers=("--workers", "1") if jobs > 1 else ())
    _ = place.audio  # refuses caches that don't fit before anything is planned
    book = CellBook(place, {**config.options, "precision": config.precision})
    return plan_experiment(config.name, book, config.models, seeds_of(config.seeds))


def run_experiment(
    workspace: Workspace,
    config: ExperimentConfig,
    plan: Plan,
    launch: Launch,
    *,
    jobs: int = 1,
    tell: Callable[[Outcome, int, int], None],
) -> Result:
    """Run what is missing and write `<workspace>/experiments/<name>/<name>.md`, `.json` and `.png`.

    A cell that fails leaves its places empty and stops only what needs it; the others are kept for the next time.

    Args:
        launch: runs the words of a command; jobs: how many at a time.
        tell: called for each cell, with its number and how many there are.
    """
    cells, failed = plan.cells(), {}
    for number, outcome in enumerate(run_cells(cells, launch, jobs=jobs), start=1):
        if outcome.problem:
            failed[outcome.cell] = outcome.problem
        tell(outcome, number, len(cells))
    return _write(workspace, config, plan, failed)


def _write(workspace: Workspace, config: ExperimentConfig, plan: Plan, failed: Mapping[Cell, str]) -> Result:
    content = collect(plan, failed)
    content["setting"] = _setting(config, plan)
    content["command"] = config.command
    content["failed"] = {cell.title: problem for cell, problem in failed.items()}
    stem = workspace.root / "experiments" / plan.name / plan.name
    with whole_file(stem.with_suffix(".md")) as part:
        part.write_text(to_markdown(content), encoding="utf-8")
    paths = [stem.with_suffix(".md"), write_json(stem.with_suffix(".json"), content)]
    if any(entry["scores"] for entry in content["entries"]):
        paths.append(_draw(content, stem.with_suffix(".png")))
    return Result(content, tuple(paths))


def _setting(config: ExperimentConfig, plan: Plan) -> dict[str, Any]:
    evaluation = next(iter(plan.entries.values())).evaluations[0]
    place = evaluation.place
    splits = place.clips.splits
    return {
        "models": {model.label: {"model": model.name, "preset": model.preset} for model in config.models},
        "seeds": list(seeds_of(config.seeds)),
        "options": {name: value for name, value in config.options.items() if value is not None},
        "split": place.split,
        "clips": {split: splits.count(split) for split in sorted(set(splits))},
        "fingerprints": {"clips": place.clips.fingerprint, "audio": place.audio.fingerprint},
        "encoder": place.audio.encoder,
        "precision": config.precision,
    }


def _draw(content: dict[str, Any], path: Path) -> Path:
    if content["experiment"] == "prior-curve":
        return draw_prior_curves(_curves(content), path, title=content["title"])
    ours: dict[tuple[str, str], float] = {}
    spreads: dict[tuple[str, str], float] = {}
    papers: dict[tuple[str, str], float] = {}
    for entry in content["entries"]:
        where = (entry["row"], entry["column"])
        if entry["scores"]:
            ours[where] = 100 * entry["scores"]["mIoU"]["mean"]
            spreads[where] = 100 * (entry["scores"]["mIoU"]["std"] or 0.0)
        if entry["paper"]["mIoU"] is not None:
            papers[where] = entry["paper"]["mIoU"]
    panels = [Bars("measured here", ours, spreads)]
    # A number or two of the paper make no picture to compare with.
    if len(papers) > 3:
        panels.append(Bars("the paper (AVSBench, pretrained)", papers, {}))
    return draw_bars(panels, content["rows"], content["columns"], path, title=content["title"])


def _curves(content: dict[str, Any]) -> list[Curve]:
    curves = []
    for row in content["rows"]:
        single, points = None, []
        for entry in (entry for entry in content["entries"] if entry["row"] == row and entry["scores"]):
            score = entry["scores"]["mIoU"]
            mean, half = 100 * score["mean"], 100 * (score["std"] or 0.0)
            if entry["column"] == SINGLE:
                single = (mean, half)
            else:
                points.append((100 * entry["prior_miou"], mean, half))
        even = content["break_even"][row]
        curves.append(Curve(row, sorted(points), single, None if even is None else 100 * even))
    return curves


def states(plan: Plan) -> list[tuple[Cell, str]]:
    """Every cell of a plan and how far it is."""
    return [(cell, cell.state()) for cell in plan.cells()]


def parse_models(text: str, preset: str | None, *, on_gpu: bool) -> tuple[Model, ...]:
    """Read `aavs,tpavi-pvt`.

    Args:
        preset: of the names that carry none; None takes the published one on a GPU, else `tiny`.
    Raises: AvsctlError: If a model or preset doesn't exist, or none is named.
    """
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise AvsctlError("--models names none. For example: --models aavs,tpavi.")
    found = []
    for word in words:
        name, own = split_model(word, None)
        chosen = own or preset or auto_preset(name, on_gpu=on_gpu)
        split_model(name, chosen)  # refuses a preset that the model doesn't have
        found.append(Model(name, chosen, word))
    return tuple(found)
