"""`avsctl report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from avsctl.cli import _console
from avsctl.cli._options import (
    command,
    device_options,
    json_option,
    overwrite_option,
    pixels_option,
    split_option,
    subset_option,
)
from avsctl.workspace import Workspace


class _Count(click.ParamType):
    """A number of clips, or `all` (None)."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value == "all" or value is None:
            return None
        if isinstance(value, int) and value >= 0:
            return value
        if isinstance(value, str) and value.isdecimal():
            return int(value)
        self.fail(f"{value!r} is neither a number from 0 on nor 'all'", param, ctx)


@command("report")
@click.option(
    "--run", "runs", multiple=True, metavar="RUN",
    help="A run to show, by name (avs/NAME or avss/NAME where both tasks have it) or folder; several stand side by "
    "side. [default: the whole workspace]",
)  # fmt: skip
@split_option()
@subset_option(help="Which subset's clips and scores.")
@click.option(
    "--clips", type=_Count(), default="16", show_default=True, metavar="N|all",
    help="How many clips of each subset: half the worst, half the best. 0 shows none and runs no model.",
)  # fmt: skip
@click.option(
    "--prior", metavar="predicted|oracle|low|high|empty|FILE",
    help="What runs of two stages are given for the clips. [default: the first of these that was scored]",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="The page. [default: report.html in the workspace]"
)
@click.option(
    "--single-file", is_flag=True, help="Put pictures and sound into the page, however large; else only up to 8 MB."
)
@pixels_option
@device_options
@overwrite_option
@json_option
def command(workspace: Workspace, as_json: bool, overwrite: bool, **options: Any) -> None:
    """Write one HTML page on the workspace, or on chosen runs: open it in any browser, no network needed.

    It shows what was trained on what, the learning curves, every score by name, the prior's accuracy and the gap to
    the oracle, bars and confusion of the classes, and clips with their sound: frame, ground truth, prior and result.
    What is missing it names, with the command to run. Larger media lie beside the page in a folder (REPORT-media).
    """
    from avsctl.stages.report import report
    from avsctl.stages.report_gather import ReportConfig

    made = report(workspace, ReportConfig(**options), overwrite=overwrite, track=_console.track)
    if as_json:
        content = {
            "page": str(made.page), "media": made.media and str(made.media), "clips": made.clips, "of": made.of,
            "bytes": made.bytes, "fresh": made.fresh, "problems": made.problems,
            "missing": [{"what": one.what, "command": one.command} for one in made.missing],
        }  # fmt: skip
        click.echo(json.dumps(content, indent=1))
        return
    lines = [f"note: {problem}" for problem in made.problems]
    lines += [f"missing: {one.what}: {one.command}" for one in made.missing]
    lines += [str(made.page)] + ([str(made.media)] if made.media else [])
    if not made.fresh:
        lines.append("up to date: it was made from the same runs, reports and options")
    lines.append(f"{made.clips} of {made.of} clips, page {made.bytes / 1e6:.1f} MB")
    for line in lines:
        _console.out.print(line, markup=False, highlight=False)
