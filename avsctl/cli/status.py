"""`avsctl status`."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import click
from rich import box
from rich.markup import escape
from rich.table import Table

from avsctl.caches.names import visible
from avsctl.caches.space import readable_bytes
from avsctl.cli._console import out, track
from avsctl.cli._options import command, json_option
from avsctl.workspace import Workspace

SCORES = {"mIoU": "miou", "F": "f_score", "fg": "miou_foreground", "as AVS": "avs_miou"}
"""Headline scores: mIoU and F of the task; of the task avss the foreground's mIoU and that of its masks as AVS."""


@command("status")
@click.option(
    "--verify", "check", is_flag=True, help="Also check every clip of every cache against its checksum; exit code 1 "
    "where one is damaged."
)  # fmt: skip
@json_option
def command(workspace: Workspace, as_json: bool, check: bool) -> None:
    """Show what the workspace holds and what to run next.

    Scores are in percent. Looks only, and works on an empty folder and on damaged files.
    """
    from avsctl.stages.status import status
    from avsctl.stages.verification import verify

    content = status(workspace)
    if check:
        content["verified"] = verify(workspace, track)
    if as_json:
        click.echo(json.dumps(content, indent=1))
    else:
        _show(content)
    if any(entry["problem"] for entry in content.get("verified", ())):
        raise click.exceptions.Exit(1)


def _show(content: dict[str, Any]) -> None:
    _say(f"workspace {content['workspace']}: {readable_bytes(content['bytes'])}")
    _show_clips(content["clips"])
    _show_audio(content["audio"])
    _show_priors(content["priors"])
    _show_runs(content["runs"])
    _show_reports(content["reports"])
    for name, size in content["unfinished"].items():
        _say(f"{name} is half made ({readable_bytes(size)} so far); its command goes on from there")
    for shares in content["shares"]:
        _show_shares(shares)
    for entry in content.get("verified", ()):
        whole = f"{entry['clips']:,} clips as they were written" if entry["clips"] else "readable"
        _say(f"checked {entry['path']}: {whole}" if entry["problem"] is None else f"damaged: {entry['problem']}")
    _say("next: " + "   or   ".join(content["next"]))


def _show_shares(shares: dict[str, Any]) -> None:
    missing, there = shares["missing"], len(shares["there"])
    if len(shares["of"]) > 1:
        state = f"shares of {' and of '.join(map(str, shares['of']))} are there: delete those that are not meant"
    elif missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        verb = "is" if len(missing) == 1 else "are"
        state = f"{there} of {shares['of'][0]} shares are there, {', '.join(missing[:3])}{more} {verb} missing"
    else:
        state = f"all {there} shares are there; 'avsctl merge-caches --remove' joins them"
    _say(f"{shares['name']}: {state}")


def _show_clips(clips: dict[str, Any] | None) -> None:
    if clips is None or "problem" in clips:
        _say("clips: none" if clips is None else f"clips: {clips['problem']}")
        return
    kind = clips["label_kind"]
    labels = "without labels" if kind == "none" else f"{clips['classes']} classes, {kind} labels"
    size = readable_bytes(clips["bytes"])
    _say(f"clips: {clips['clips']:,} with {clips['frames']:,} frames, {labels}, {size} ({clips['path']})")
    counts: dict[str, list[str]] = defaultdict(list)
    for name, count in clips["counts"].items():
        subset, split = name.rsplit("/", 1)
        counts[subset].append(f"{split} {count:,}")
    for subset, splits in counts.items():
        _say(f"  {subset}: {', '.join(splits)}")


def _show_audio(audio: dict[str, Any] | None) -> None:
    if audio is None or "problem" in audio:
        _say("audio: none" if audio is None else f"audio: {audio['problem']}")
        return
    _say(
        f"audio: {audio['encoder']}, {audio['dim']} numbers for each of {audio['rows']:,} frames, "
        f"{readable_bytes(audio['bytes'])}{_misfit(audio)} ({audio['path']})"
    )


def _show_priors(priors: list[dict[str, Any]]) -> None:
    if not priors:
        _say("priors: none")
    for prior in priors:
        if "problem" in prior:
            _say(f"prior {prior['name']}: {prior['problem']}")
            continue
        tested = {name.rsplit("/", 1)[0]: miou for name, miou in prior["accuracy"].items() if name.endswith("/test")}
        accuracy = ", ".join(f"{subset} {_percent(miou)}" for subset, miou in tested.items() if miou is not None)
        _say(
            f"prior {prior['name']}: {prior['origin']}, {readable_bytes(prior['bytes'])}{_misfit(prior)}"
            + (f"; test mIoU {accuracy}" if accuracy else "")
        )


def _show_runs(runs: list[dict[str, Any]]) -> None:
    if not runs:
        _say("runs: none")
        return
    table = _table("runs", "task", "run", "state", "best epoch", "val mIoU", "val F", "size")
    for run in runs:
        if "problem" in run:
            table.add_row(run["task"], escape(visible(run["name"])), escape(visible(run["problem"])))
            continue
        best = run["best"] or {}
        state = "complete" if run["complete"] else f"unfinished, {run['epoch']} of {run['epochs']} epochs"
        scores = (str(best.get("epoch", "")), _percent(best.get("miou")), _percent(best.get("f_score")))
        table.add_row(run["task"], escape(visible(run["name"])), state, *scores, readable_bytes(run["bytes"]))
    out.print(table)
    for run in runs:
        if run.get("resume"):
            _say(f"continue {run['name']}: {run['resume']}")


def _show_reports(reports: list[dict[str, Any]]) -> None:
    if not reports:
        _say("reports: none")
        return
    table = _table("reports", "clips", "task", "run", "prior", "sound", *SCORES)
    for report in reports:
        if "problem" in report:
            continue
        table.add_row(
            f"{report['split']} {report['subset']}",
            report["task"],
            escape(", ".join(report["runs"])),
            report["prior"] or "",
            report["audio"],
            *(_percent(report["scores"].get(name)) for name in SCORES.values()),
        )
    out.print(table)
    for report in reports:
        if "problem" in report:
            _say(report["problem"])


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        number = name in SCORES or name in ("best epoch", "val mIoU", "val F", "size")
        # A narrow terminal folds names instead of hiding their ends, which tell runs apart.
        table.add_column(name, justify="right" if number else "left", no_wrap=number, overflow="fold")
    return table


def _misfit(cache: dict[str, Any]) -> str:
    return "" if cache["fits"] is not False else ", made from other clips: make it again with --overwrite"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _say(text: str) -> None:
    out.print(visible(text), markup=False, highlight=False)
