"""`avsctl predict-priors`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from avsctl.cli._console import out as console, track
from avsctl.cli._options import (
    FloatRange,
    batch_clips_option,
    check_repair,
    command,
    compile_option,
    device_options,
    json_option,
    overwrite_option,
    pixels_option,
    prefetch_option,
    repair_option,
    seed_option,
    subset_option,
)
from avsctl.configs import LABEL_SIZE, LEVELS
from avsctl.distributed import on_main
from avsctl.errors import AvsctlError
from avsctl.workspace import Run, Workspace


@command("predict-priors", spreads=True)
@click.option(
    "--run", metavar="NAME|DIR", help="One stage-1 run for all clips. [default: each subset's, else one trained on all]"
)
@click.option(
    "--level",
    type=click.Choice(list(LEVELS)),
    help="Instead of predicting, simulate a stage 1 of mIoU 0.55 or 0.75 from the ground truth.",
)
@click.option(
    "--miou",
    type=FloatRange(0, 1, min_open=True, max_open=True),
    help="Simulate a stage 1 of this mIoU; with --level, what that level means.",
)
@click.option(
    "--from-masks",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Take any other program's masks: <v1s|v1m|v2>/<uid>/<frame>.png, or <uid>/<frame>.png, grey / 255.",
)
@click.option(
    "--export-png",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write the masks as PNGs of 0 and 255 in the released layout.",
)
@click.option("--size", type=click.IntRange(16, 1024), default=LABEL_SIZE, show_default=True, help="Side of the maps.")
@subset_option()
@click.option("--split", type=click.Choice(["train", "val", "test", "all"]), default="all", show_default=True)
@click.option(
    "--binary-labels",
    type=click.Choice(["bilinear", "nearest"]),
    default="bilinear",
    show_default=True,
    help="How the ground truth is resized: bilinear, then > 0 (released), or nearest.",
)
@seed_option
@click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Cache to write. [default: priors/<predicted|low|high|miou-X|masks>.h5]",
)
@pixels_option
@device_options
@compile_option
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Worker processes. [default: all cores; to predict none on a CPU, else 4]",
)
@prefetch_option
@batch_clips_option
@overwrite_option
@repair_option
@json_option
def command(
    workspace: Workspace,
    run: str | None,
    level: str | None,
    miou: float | None,
    from_masks: Path | None,
    export_png: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Write stage 1's masks for every frame: the stepping stone.

    Probabilities in 8 bits, found by clip and frame. Each clip goes to the newest stage-1 run of its subset, else to
    one trained on all. The cache records the mIoU it has on each subset and split. A rerun continues where it stopped.

    Simulated priors err as models do: wrong borders, missed sources, silent objects included, whole frames failed. They
    need labels: a frame without one gets an empty prior.
    """
    check_repair(options["repair"], options["overwrite"])
    _check_one_source(run=run, simulated=level or miou, from_masks=from_masks)
    _check_target(workspace, options["target"])
    if export_png:
        from avsctl.stages.mask_files import check_export

        on_main(lambda: check_export(export_png))
    runs: dict[str, Run] = {}
    if from_masks:
        path = on_main(lambda: _import(workspace, from_masks, **options))
    elif level:
        path = on_main(lambda: _simulate(workspace, level, miou or LEVELS[level], **options))
    elif miou:
        path = on_main(lambda: _simulate(workspace, f"miou-{miou:g}", miou, **options))
    else:
        path, runs = _predict(workspace, run, as_json, **options)
    _show(path, runs, as_json)
    if export_png:
        on_main(lambda: _export(workspace, path, export_png, as_json))


def _check_one_source(**sources: Any) -> None:
    given = [name for name, value in sources.items() if value]
    if len(given) > 1:
        names = {"run": "--run", "simulated": "--level/--miou", "from_masks": "--from-masks"}
        raise AvsctlError(f"{' and '.join(names[name] for name in given)} exclude each other: give one of them.")


def _check_target(workspace: Workspace, target: Path | None) -> None:
    if target is None:
        return
    if target.suffix != ".h5":
        raise AvsctlError(f"--out {target} must end in .h5, by which the other commands know a prior's file.")
    if target.resolve() in (workspace.clips.resolve(), workspace.audio.resolve()):
        raise AvsctlError(f"--out {target} is a cache that priors are made from. Choose another name.")


def _predict(
    workspace: Workspace,
    run: str | None,
    as_json: bool,
    *,
    workers: int | None,
    batch_clips: int | None,
    prefetch: int | None,
    target: Path | None,
    **options: Any,
) -> tuple[Path, dict[str, Run]]:
    from avsctl.stages.predict_priors import predict_priors, route_runs
    from avsctl.training.devices import predicting_by_device

    runs = route_runs(workspace, run=run, subset=options["subset"], split=options["split"])
    if not as_json:
        for subset, chosen in runs.items():
            console.print(f"{subset}: {chosen.folder}", markup=False, highlight=False)
    del options["seed"]
    options |= predicting_by_device(options["device"], workers, batch_clips, prefetch)
    return predict_priors(workspace, runs, out=target, track=track, **options), runs


def _show(path: Path, runs: dict[str, Run], as_json: bool) -> None:
    from avsctl.caches.clips import SPLITS
    from avsctl.caches.priors import PriorCache
    from avsctl.stages.prior_assembly import accuracy_rows

    cache = PriorCache(path)
    if as_json:
        result = {
            "prior": str(path),
            "origin": cache.origin,
            "runs": {subset: str(run.folder) for subset, run in runs.items()},
            "accuracy": cache.accuracy,
            "fingerprint": cache.fingerprint,
        }
        click.echo(json.dumps(result, indent=1))
        return
    table = Table("mIoU", *SPLITS, title=f"{cache.origin}: how good these priors are")
    for column in table.columns[1:]:
        column.justify = "right"
    for subset, values in accuracy_rows(cache.accuracy):
        table.add_row(subset, *("–" if value is None else f"{value:.4f}" for value in values))
    console.print(table)
    console.print(f"{path} is ready. Next: avsctl train-avss", markup=False, highlight=False)


def _import(
    workspace: Workspace,
    masks: Path,
    *,
    target: Path | None,
    subset: str,
    split: str,
    size: int,
    binary_labels: str,
    workers: int | None,
    overwrite: bool,
    repair: bool,
    **unused: Any,
) -> Path:
    from avsctl.stages.mask_files import import_masks

    return import_masks(
        workspace.clips,
        masks,
        target or workspace.prior("masks"),
        subset=subset,
        split=split,
        size=size,
        binary_labels=binary_labels,
        workers=workers,
        overwrite=overwrite,
        repair=repair,
        track=track,
    )


def _export(workspace: Workspace, prior: Path, folder: Path, as_json: bool) -> None:
    from avsctl.stages.mask_files import export_masks

    export_masks(prior, workspace.clips, folder, track=track)
    if not as_json:
        console.print(f"{folder}: the masks as PNGs", markup=False, highlight=False)


def _simulate(
    workspace: Workspace,
    name: str,
    miou: float,
    *,
    target: Path | None,
    device: str,
    precision: str,
    prefetch: int | None,
    batch_clips: int | None,
    compile: bool,
    **options: Any,
) -> Path:
    from avsctl.stages.simulate_priors import simulate_priors

    out = target or workspace.prior(name)
    return simulate_priors(workspace.clips, out, miou, origin=name, track=track, **options)
