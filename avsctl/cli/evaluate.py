"""`avsctl evaluate`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.table import Table

from avsctl.cli._console import out, track
from avsctl.cli._options import (
    batch_clips_option,
    command,
    compile_option,
    device_options,
    json_option,
    pixels_option,
    prefetch_option,
    reading_workers_option,
    seed_option,
    split_option,
    subset_option,
)
from avsctl.distributed import on_main
from avsctl.errors import AvsctlError
from avsctl.workspace import TASKS, Workspace

if TYPE_CHECKING:
    from avsctl.stages.evaluation_report import Report

READING = ("workers", "prefetch", "batch_clips", "compile")
FOR_RUNS = ("run", "prior", "prior_form", "audio", "weights", "seed", "device", "precision") + READING
"""Options that mean nothing to masks that are there already."""
AVS_COLUMNS = {
    "mIoU": "miou",
    "F": "f_score",
    "F (Stepping Stones)": "f_score_stepping_stones",
    "marked": "marked_share",
}
AVSS_COLUMNS = {
    "mIoU": "miou",
    "F": "f_score",
    "mIoU fg": "miou_foreground",
    "F fg": "f_score_foreground",
    "mIoU fg seen": "miou_foreground_present",
    "mIoU as AVS": "avs_miou",
    "F as AVS": "avs_f_score",
}
COMPARISON = {
    "mIoU": "miou",
    "F": "f_score",
    "mIoU fg": "miou_foreground",
    "mIoU fg seen": "miou_foreground_present",
    "mIoU as AVS": "avs_miou",
    "prior's mIoU": "prior_miou",
    "gap to oracle": "gap_to_oracle",
}


def _explain(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from avsctl.metrics import MEANINGS

    for kind, title in (("binary", "Task avs"), ("semantic", "Task avss")):
        table = Table("score", "meaning", title=title, title_justify="left")
        for name, meaning in MEANINGS[kind].items():
            table.add_row(name, meaning)
        out.print(table, soft_wrap=False)
    ctx.exit()


@command("evaluate", spreads=True)
@split_option()
@subset_option(help="Which subset's clips to score.")
@click.option(
    "--task",
    type=click.Choice(TASKS),
    help="[default: those that have a completed run; for --predictions avss, where labels name classes]",
)
@click.option(
    "--predictions",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Score masks of any program instead of runs: <v1s|v1m|v2>/<uid>/<frame>.png, frames from 0. Task avss: class "
    "indices or AVSBench's colours; avs: grey value / 255.",
)
@click.option(
    "--size",
    type=click.Choice(["label", "224", "512"]),
    default="224",
    show_default=True,
    help="With --predictions: where masks and labels are compared, label being each label's own size. Runs are scored "
    "at 224.",
)
@click.option("--run", metavar="RUN", help="Name or folder of a run. [default: the newest that fits]")
@click.option(
    "--prior",
    metavar="predicted|oracle|low|high|empty|none|FILE|all",
    help="What stage 2 is given; none is the single-stage model, all compares every prior there is. [default: "
    "predicted, for a run that takes one]",
)
@click.option(
    "--prior-form", type=click.Choice(["hard", "soft"]), help="A cached prior as 0 or 1, or as probabilities. "
    "[default: as the run was trained]",
)  # fmt: skip
@click.option(
    "--audio",
    default="original",
    show_default=True,
    metavar="original|silence|noise|other-clip|shift:S|snr:DB",
    help="Change the sound and embed it again. A cached prior stays that of the original sound.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="The audio encoder's weights, for changed sound of vggish or yamnet.",
)
@seed_option
@click.option(
    "--binary-labels", type=click.Choice(["bilinear", "nearest"]), default="bilinear", show_default=True,
    help="How labels of the task avs shrink: bilinear is released (borders grow), nearest keeps them.",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="[default: reports]")
@click.option(
    "--explain", is_flag=True, is_eager=True, expose_value=False, callback=_explain, help="Say what each score means."
)
@pixels_option
@device_options
@compile_option
@reading_workers_option
@prefetch_option
@batch_clips_option
@json_option
def command(workspace: Workspace, as_json: bool, **options: Any) -> None:
    """Score runs on a split, with any prior and any change of the sound, or any program's masks (--predictions).

    Tables show percent; reports/<split>/*.json hold every score as a fraction under its own name, per subset and
    class, with a csv of the classes and one of the clips beside it. Scores never depend on how many clips are
    read ahead.
    """
    predictions, size = options.pop("predictions"), options.pop("size")
    _check_fit(predictions, size)
    if predictions is None:
        reports, comparison = _score_runs(workspace, options)
    else:
        reports, comparison = [on_main(lambda: _score_predictions(workspace, predictions, size, options))], None
    if as_json:
        found = [{"path": str(report.path), **report.content} for report in reports]
        click.echo(json.dumps({"reports": found, "comparison": comparison}, indent=1, sort_keys=True))
        return
    for report in reports:
        if comparison is None or report.content["task"] == "avs":
            out.print(_scores_table(report.content))
    if comparison is not None:
        out.print(_comparison_table(comparison, reports[0].content))
    for report in reports:
        out.print(f"{report.path}", markup=False, highlight=False)


def _check_fit(predictions: Path | None, size: str) -> None:
    """Refuse options that would be left unused."""
    if predictions is None and size != "224":
        raise AvsctlError(f"Runs are scored at 224, where AVSBench scores: --size {size} goes with --predictions DIR.")
    context = click.get_current_context()
    for name in FOR_RUNS if predictions is not None else ():
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise AvsctlError(f"--{name.replace('_', '-')} is for runs: leave it out with --predictions.")


def _score_runs(workspace: Workspace, options: dict[str, Any]) -> tuple[Sequence[Report], list[dict] | None]:
    from avsctl.stages.evaluate import compare_priors, evaluate
    from avsctl.stages.evaluation_plan import EvaluateConfig
    from avsctl.training.devices import predicting_by_device

    reading = {name: options.pop(name) for name in READING}
    given = (reading[name] for name in ("workers", "batch_clips", "prefetch"))
    reading |= predicting_by_device(options["device"], *given)
    reports = evaluate(workspace, EvaluateConfig(**options), track=track, **reading)
    return reports, compare_priors(reports) if options["prior"] == "all" else None


def _score_predictions(workspace: Workspace, folder: Path, size: str, options: dict[str, Any]) -> Report:
    from avsctl.stages.evaluate_predictions import PredictionsConfig, evaluate_predictions

    given = {name: value for name, value in options.items() if name not in FOR_RUNS}
    return evaluate_predictions(workspace, PredictionsConfig(folder, size=size, **given), track=track)


def _scores_table(content: dict[str, Any]) -> Table:
    columns = AVS_COLUMNS if content["task"] == "avs" else AVSS_COLUMNS
    scores = content["scores"]
    columns = {title: name for title, name in columns.items() if name in scores["all"]}
    table = _table(f"{content['task']} {_scored(content)}, {_setting(content)}", ["subset", "clips"], columns)
    rows = scores["subsets"] | ({"all": scores["all"]} if len(scores["subsets"]) > 1 else {})
    for subset, row in rows.items():
        table.add_row(subset, f"{row['clips']:,}", *(_percent(row[name]) for name in columns.values()))
    return table


def _scored(content: dict[str, Any]) -> str:
    if "predictions" in content:
        size = content["label_size"]
        return f"masks {content['predictions']['folder']}, at {'label size' if size == 'label' else size}"
    prior = f", prior {content['prior']['name']}" if content["prior"] else ""
    return ", ".join(run["name"] for run in content["runs"]) + prior


def _comparison_table(rows: Sequence[dict[str, Any]], content: dict[str, Any]) -> Table:
    title = f"avss {content['runs'][0]['name']} by prior, {_setting(content)}"
    single = next((row["run"] for row in rows if row["prior"] is None), None)
    table = _table(title, ["prior"], COMPARISON)
    table.caption = f"single stage: {single}" if single else None
    table.caption_justify = "left"
    for row in rows:
        table.add_row(row["prior"] or "single stage", *(_percent(row[name]) for name in COMPARISON.values()))
    return table


def _setting(content: dict[str, Any]) -> str:
    change = content.get("audio", {}).get("change", "original")
    sound = "" if change == "original" else f", sound {change}"
    return f"split {content['split']}, subset {content['subset']}{sound} (percent)"


def _table(title: str, first: Sequence[str], columns: dict[str, str]) -> Table:
    table = Table(*first, title=title, title_justify="left")
    for name in columns:
        table.add_column(name, justify="right")
    return table


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"
