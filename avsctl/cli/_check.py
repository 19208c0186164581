"""What `avsctl prepare … --check` prints."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.table import Table

from avsctl.caches.clips import SPLITS
from avsctl.cli._console import out
from avsctl.errors import AvsctlError

SHOWN = 5
"""Examples printed of each kind; --json has all."""


def show_check(report: dict[str, Any], as_json: bool, *, skip_broken: bool = False) -> None:
    """Print a report of `avsctl.data.check.check`.

    Raises: AvsctlError: If `prepare` would not succeed, with the numbers that say why.
    """
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        _show_text(report)
    broken, problems = report["broken"], report["csv_problems"]
    if problems:
        raise AvsctlError(f"The csv files have {len(problems)} problems, the first: {problems[0]}. Mend them.")
    if len(broken) == report["clips"] or (broken and not skip_broken):
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in report["broken_kinds"].items())
        remedy = "Restore the files" + ("" if len(broken) == report["clips"] else ", or prepare with --skip-broken")
        raise AvsctlError(f"{len(broken):,} of {report['clips']:,} clips cannot be read ({kinds}). {remedy}.")


def _show_text(report: dict[str, Any]) -> None:
    _say(f"{report['clips']:,} clips in the csv files")
    out.print(_counts_table(report["counts"]))
    for problem in report["csv_problems"]:
        _say(f"csv: {problem}")
    for kind, count in report["broken_kinds"].items():
        _say(f"{count:,} clips cannot be read: {kind}")
        _examples(f"{b['path']} {b['reason']}" for b in report["broken"] if b["kind"] == kind)
    _findings(report)
    if report["shared_videos"]:
        out.print(_videos_table(report["shared_videos"]))
    two = ", ".join(f"{scope} {count:,}" for scope, count in report["videos_in_two_splits"].items())
    _say(f"source videos with clips in more than one split: {two}")


def _findings(report: dict[str, Any]) -> None:
    off = report["off_palette"]
    if off:
        _say(f"{len(off):,} labels hold colours outside the palette; those pixels become background")
        _examples(f"{path}: {pixels:,} pixels" for path, pixels in off.items())
    if report["greys"]:
        _say(f"{len(report['greys']):,} masks hold greys; 128 and more counts as sounding")
        _examples(report["greys"])
    if report["stray_classes"]:
        _say(f"{len(report['stray_classes']):,} clips are labelled with classes that the csv does not name for them")
        _examples(f"{uid}: {', '.join(names)}" for uid, names in report["stray_classes"].items())
    if report["no_class"]:
        names = ", ".join(f"{name!r} {count:,}" for name, count in report["no_class"].items())
        _say(f"names in the csv that are no class (harmless, labels come from the pictures): {names}")


def _counts_table(counts: dict[str, Any]) -> Table:
    table = Table("subset", *SPLITS, title="clips (in brackets: AVSBench's own number, where it differs)")
    rows = [(subset, [splits[split] for split in SPLITS]) for subset, splits in counts.items()]
    totals = [
        {"clips": sum(row[i]["clips"] for _, row in rows), "expected": _total(row[i]["expected"] for _, row in rows)}
        for i in range(len(SPLITS))
    ]
    for subset, row in [*rows, ("all", totals)]:
        table.add_row(subset, *(_count(cell) for cell in row))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _total(numbers: Any) -> int | None:
    numbers = list(numbers)
    return None if None in numbers else sum(numbers)


def _count(cell: dict[str, int | None]) -> str:
    differs = cell["expected"] not in (None, cell["clips"])
    return f"{cell['clips']:,}" + (f" ({cell['expected']:,})" if differs else "")


def _videos_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        "subset",
        "split",
        "clips",
        "same subset",
        "other subsets",
        "any subset",
        "validation",
        title="clips that share their source video with training clips (or validation clips) of",
    )
    for row in rows:
        numbers = [row[name] for name in ("clips", "same_subset", "other_subset", "any_subset", "validation")]
        table.add_row(row["subset"], row["split"], *("" if n is None else f"{n:,}" for n in numbers))
    for column in table.columns[2:]:
        column.justify = "right"
    return table


def _examples(lines: Any) -> None:
    lines = list(lines)
    for line in lines[:SHOWN]:
        _say(f"  {line}")
    if len(lines) > SHOWN:
        _say(f"  … and {len(lines) - SHOWN:,} more (--json lists all)")


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False)
