"""`avsctl bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.table import Table

from avsctl.bench.items import ITEMS, chosen_items
from avsctl.caches.files import write_json
from avsctl.caches.space import readable_bytes
from avsctl.cli._console import exit_with_failures, out, track
from avsctl.cli._options import output_options

if TYPE_CHECKING:
    from avsctl.bench.harness import Result
    from avsctl.bench.run import Report


def _list(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    table = Table("item", "what is timed, and how much faster it should be", box=box.SIMPLE_HEAD, pad_edge=False)
    for item in ITEMS:
        table.add_row(item.name, item.what)
    out.print(table, soft_wrap=False)
    ctx.exit()


@click.command("bench")
@click.option(
    "--only",
    multiple=True,
    metavar="ITEM",
    help="Only this item, or all whose names begin so (training-step); may be given several times.",
)
@click.option("--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="Explain the items.")
@click.option("--quick", is_flag=True, help="Fewer rounds and smaller inputs: minutes instead of a quarter of an hour.")
@click.option(
    "--json",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write all numbers as JSON, after every item.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), show_default="torch's", help="Threads of torch, the same on both sides."
)
@output_options
def command(only: tuple[str, ...], quick: bool, target: Path | None, threads: int | None) -> None:
    """Time avsctl against its peer, or against the plain way, in the same run on this machine.

    Both sides are called in turn, several rounds, and the medians compared; before that, both are checked to do the
    same work. Peak memory is that of a process of its own for each side. Everything is made up: no data is needed.
    """
    from avsctl.bench.run import run_items

    try:
        items = chosen_items(only)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--only") from None

    def keep(report: Report) -> None:
        if target is not None:
            write_json(target, report.to_json())

    report = run_items(items, quick=quick, threads=threads, keep=keep, track=track)
    _show(report)
    exit_with_failures(report.failed, len(items), "items compare different work")


def _show(report: Report) -> None:
    machine = report.machine
    rates = (
        f"{machine['matmul_fp32_flops'] / 1e9:.0f} GFLOP/s in float32, {machine['matmul_bf16_flops'] / 1e9:.0f} in bf16"
    )
    _say(f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads; matrix products {rates}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("item", no_wrap=True)
    for column in ("ratio", "target", "ours", "peer", "memory", "of matmul rate"):
        table.add_column(column, justify="right", no_wrap=True)
    for result in report.results:
        table.add_row(result.name, *_cells(result))
    out.print(table)
    for result in report.results:
        _say(f"{result.name}: against {result.peer}; equal: {result.checked}")
        for name in ("ours_parts", "peer_parts"):
            if name in result.details:
                _say(f"  time of {name.partition('_')[0]}: {_parts(result.details[name])}")
    if not machine["native_bf16"]:
        _say("bf16 is left out: this processor does not multiply it natively")


def _cells(result: Result) -> tuple[str, ...]:
    mark = {True: "green", False: "red", None: ""}[result.reached]
    ratio = f"{result.ratio:.2f}"
    sides = [f"{result.count / s:,.3g} {result.unit}/s" for s in (result.ours_s, result.peer_s)]
    memory = [readable_bytes(size) for size in (result.ours_bytes, result.peer_bytes) if size is not None]
    share = result.details.get("ours_share_of_matmul_rate")
    return (
        f"[{mark}]{ratio}[/]" if mark else ratio,
        "" if result.target is None else f"{result.target:g}",
        *sides,
        " / ".join(memory),
        "" if share is None else f"{100 * share:.0f} %",
    )


def _parts(parts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in parts.items())


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False)
