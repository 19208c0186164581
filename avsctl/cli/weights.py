"""`avsctl weights`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.markup import escape
from rich.table import Table

from avsctl.cli._console import out, track
from avsctl.cli._options import json_option, output_options, overwrite_option
from avsctl_models.weights.released import FOLDER_VARIABLE, released

BY = ("paper", "authors", "user")
"""Whose scores a list shows, one column each."""

folder_option = click.option(
    "--to", "folder", type=click.Path(path_type=Path, file_okay=False), envvar=FOLDER_VARIABLE, metavar="DIR",
    help=f"Where fetched weights lie (or {FOLDER_VARIABLE}). [default: avsctl/weights in the user's cache folder]",
)  # fmt: skip


@click.group("weights")
def command() -> None:
    """List released weights, and fetch them by name.

    A fetched name may stand wherever a command takes released weights: train-avs --init-from mask2former-swin-b-ade,
    extract-audio --weights vggish, import-weights vggish.
    """


@command.command("list")
@click.argument("name", required=False, type=click.Choice(list(released())), metavar="[NAME]")
@folder_option
@json_option
@output_options
def list_command(name: str | None, folder: Path | None, as_json: bool) -> None:
    """Show the released weights that avsctl reads, or all that is known of one.

    Scores are mIoU / F-score in percent: the paper's, those that the authors give beside the download, and those that
    users report to have got with it.
    """
    from avsctl.stages.weights import list_weights

    entries = [entry for entry in list_weights(folder) if name in (None, entry["name"])]
    if as_json:
        click.echo(json.dumps(entries if name is None else entries[0], indent=1))
    elif name is None:
        _show_all(entries)
    else:
        _show(entries[0])


@command.command("fetch")
@click.argument("name", type=click.Choice(list(released())), metavar="NAME")
@folder_option
@overwrite_option
@output_options
def fetch_command(name: str, folder: Path | None, overwrite: bool) -> None:
    """Download released weights into DIR/NAME and print where they are.

    A download that broke off goes on where it was. Files that their authors keep where only a browser gets them are
    named with their address and the folder to put them into.
    """
    from avsctl.stages.weights import fetch_weights

    path = fetch_weights(name, folder, overwrite=overwrite, track=track)
    click.echo(path)
    if released()[name].note:
        click.echo(released()[name].note, err=True)


def _show_all(entries: list[dict[str, Any]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "subset", "size", *BY, "here"):
        table.add_column(column, no_wrap=column == "name", justify="right" if column in ("size", *BY) else "left")
    for entry in entries:
        subset = entry["scores"][0]["subset"] if entry["scores"] else ""
        scores = (_score(entry, by) for by in BY)
        table.add_row(entry["name"], subset, _size(entry), *scores, "yes" if entry["path"] else "")
    out.print(table)
    out.print("'avsctl weights list NAME' shows all that is known of one.", markup=False, highlight=False)


def _show(entry: dict[str, Any]) -> None:
    lines = [entry["about"], f"here: {entry['path'] or 'no'}", f"size: {_size(entry) or 'not published'}"]
    lines += [f"SHA-256: begins with {entry['sha256']}"] if entry["sha256"] else []
    lines += [f"{kind}: {entry[kind]}" for kind in ("page", "url", "hub", "home", "paper") if entry[kind]]
    lines += [f"read by: import-weights --from {entry['read_by']}", f"used by: {', '.join(entry['use'])}"]
    for score in entry["scores"]:
        where = f" ({score['where']})" if score["where"] else ""
        lines.append(
            f"{score['subset']}, {score['by']}: mIoU {score['miou']:.1f}, F-score {score['f_score']:.1f}{where}"
        )
    lines += [f"note: {entry['note']}"] if entry["note"] else []
    for line in lines:
        out.print(escape(line), highlight=False)


def _score(entry: dict[str, Any], by: str) -> str:
    return next((f"{s['miou']:.1f} / {s['f_score']:.1f}" for s in entry["scores"] if s["by"] == by), "")


def _size(entry: dict[str, Any]) -> str:
    if entry["bytes"] is None:
        return entry["size"]
    return f"{entry['bytes'] / 1e6:.0f} MB" if entry["bytes"] >= 1e6 else f"{entry['bytes'] / 1e3:.0f} KB"
