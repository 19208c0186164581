"""`avsctl experiment`: the paper's tables, run and compared."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from avsctl.cli._console import err, out
from avsctl.cli._options import command, device_options, json_option
from avsctl.cli._training import NETWORK, POSITIVE, RECIPE, max_steps_option
from avsctl.errors import AvsctlError
from avsctl.workspace import Workspace

EXPERIMENTS = {
    "table1": "every model on S4, MS3 and AVSS",
    "table2": "every model alone, and with a low, high and oracle prior",
    "table3": "repeated against adaptive query on the three tasks, backbone frozen",
    "table4": "stage 2 without mask fusion, robust keys, both, or mask initialization",
    "alignment": "stage 1, single stage and Stepping Stones, all scored as AVS (Fig. 1 and 4)",
    "prior-curve": "stage 2's mIoU over its prior's, from 0.4 to 1",
}
OF_EVERY_MODEL = ("table1", "table2")


def _options_of_trainings(function: Callable[..., Any]) -> Callable[..., Any]:
    """What every training of the experiment is given; the experiment itself says what is trained."""
    for option in reversed((*RECIPE, *NETWORK, max_steps_option)):
        function = option(function)
    return function


@command("experiment")
@click.argument("name", type=click.Choice(list(EXPERIMENTS)), metavar="|".join(EXPERIMENTS))
@click.option(
    "--models",
    metavar="NAME,…",
    help="Models, the one that others are compared with first; a name may carry its preset (tpavi-pvt). "
    "[default: every model in table1 and table2, else aavs]",
)
@click.option(
    "--preset", default="auto", show_default=True,
    help="Size and recipe of the models that carry none; auto takes the published one on a GPU, else tiny.",
)  # fmt: skip
@click.option(
    "--seeds", type=click.IntRange(1, 100), default=3, show_default=True, help="Trainings of each kind, from 3407 on."
)
@click.option("--avs-epochs", type=POSITIVE, help="Epochs of stage 1. [default: as --epochs]")
@click.option("--jobs", type=POSITIVE, default=1, show_default=True, help="Cells at a time, one thread each.")
@click.option("--dry-run", is_flag=True, help="Only list the cells: what is there, what is missing.")
@_options_of_trainings
@device_options
@json_option
def command(
    workspace: Workspace,
    name: str,
    models: str | None,
    preset: str,
    seeds: int,
    jobs: int,
    dry_run: bool,
    device: str,
    precision: str,
    as_json: bool,
    **options: Any,
) -> int:
    """Run one of the paper's experiments on the workspace's clips, and write its table.

    \b
    table1       every model on S4, MS3 and AVSS
    table2       every model alone, and with a low, high and oracle prior
    table3       repeated against adaptive query on the three tasks, backbone frozen
    table4       stage 2 without mask fusion, robust keys, both, or mask initialization
    alignment    stage 1, single stage and Stepping Stones scored as AVS (Fig. 1 and 4)
    prior-curve  stage 2's mIoU over its prior's, from 0.4 to 1

    Every cell is a run of train-avs, train-avss, predict-priors or evaluate. What is there is used, what is
    unfinished goes on, what fails is named at the end (exit code 1) while the others are finished and kept.

    The table lands in experiments/<name>/<name>.md, .json and .png: mean and standard deviation over seeds, every
    difference with its interval from a paired bootstrap over clips, the paper's numbers beside ours.

    Options of the training hold for every training of the experiment.
    """
    from avsctl.stages.experiment import ExperimentConfig, make_plan, run_experiment

    config = ExperimentConfig(
        name,
        _models(name, models, preset, device),
        seeds,
        _given(options),
        device,
        precision,
        _typed(),
    )
    plan = make_plan(workspace, config, jobs=jobs)
    if dry_run:
        return _show_plan(workspace, plan, as_json)
    launch = Launcher(str(workspace.root), own_process=jobs > 1)
    result = run_experiment(workspace, config, plan, launch, jobs=jobs, tell=_tell)
    if as_json:
        click.echo(json.dumps(result.content, indent=1, sort_keys=True))
    else:
        out.print(result.paths[0].read_text(encoding="utf-8"), markup=False, highlight=False)
        for path in result.paths:
            out.print(f"{path}", markup=False, highlight=False)
    for cell, problem in result.content["failed"].items():
        err.print(f"failed: {cell}: {' '.join(problem.split())}", markup=False, highlight=False)
    return 1 if result.content["failed"] else 0


def _models(name: str, models: str | None, preset: str, device: str) -> tuple[Any, ...]:
    from avsctl.stages.experiment import parse_models
    from avsctl.training.devices import choose_device
    from avsctl_models.presets import PRESETS

    usual = ",".join(PRESETS) if name in OF_EVERY_MODEL else "aavs"
    chosen = None if preset == "auto" else preset
    return parse_models(usual if models is None else models, chosen, on_gpu=choose_device(device).type == "cuda")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options of trainings that the user chose: the others are the training commands' own to decide."""
    source = click.get_current_context().get_parameter_source
    chosen = {name: value for name, value in options.items() if source(name) is not ParameterSource.DEFAULT}
    return {name: str(value) if isinstance(value, Path) else value for name, value in chosen.items()}


def _typed() -> str:
    return shlex.join(["avsctl", *sys.argv[1:]])


@dataclass(frozen=True)
class Launcher:
    """Runs a cell's command in this process; what it prints goes to `experiments/logs`.

    Args:
        workspace: its folder.
        own_process: whether notes and progress, too, go to the log instead of this terminal.
    """

    workspace: str
    own_process: bool

    def __call__(self, title: str, words: list[str]) -> str | None:
        """Run it; gives None, or in one line what went wrong."""
        from avsctl.cli import cli

        log = Path(self.workspace) / "experiments" / "logs" / f"{title}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file, ExitStack() as stack:
            print(f"$ avsctl {shlex.join(words)}", file=file)
            stack.enter_context(redirect_stdout(file))
            if self.own_process:
                stack.enter_context(redirect_stderr(file))
            try:
                code = cli.main([words[0], "--workspace", self.workspace, *words[1:]], "avsctl", standalone_mode=False)
            except click.ClickException as error:
                return error.format_message()
            except AvsctlError as error:
                return str(error)
            except Exception as error:  # whatever it is, the other cells go on
                return f"{type(error).__name__}: {error}"
        return f"exit code {code}" if code else None


def _tell(outcome: Any, number: int, count: int) -> None:
    if outcome.problem:
        state = f"FAILED: {' '.join(outcome.problem.split())}"
    elif outcome.seconds is None:
        state = "is there"
    else:
        state = f"done in {outcome.seconds:.0f} s"
    err.print(f"{number}/{count} {outcome.cell.title} {state}", markup=False, highlight=False)


def _show_plan(workspace: Workspace, plan: Any, as_json: bool) -> int:
    from avsctl.stages.experiment import states
    from avsctl.stages.experiment_cells import THERE

    place = [] if workspace.root == Path(".") else ["--workspace", str(workspace.root)]

    def typed(cell: Any) -> str:
        return shlex.join(["avsctl", *cell.words(), *place])

    found = states(plan)
    if as_json:
        cells = [{"name": cell.title, "state": state, "command": typed(cell)} for cell, state in found]
        click.echo(json.dumps({"experiment": plan.name, "cells": cells}, indent=1))
        return 0
    for cell, state in found:
        text = cell.title if state == THERE else typed(cell)
        out.print(f"{state:<12} {text}", markup=False, highlight=False)
    there = sum(state == THERE for _, state in found)
    out.print(f"{plan.title}: {len(found)} cells, {there} there, {len(found) - there} to do")
    return 0
