"""Options that mean the same in every command, and the `--config` file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from avsctl.caches.clips import SPLITS, SUBSETS
from avsctl.cli._console import set_up_logging
from avsctl.errors import AvsctlError
from avsctl.workspace import Workspace
from avsctl_models.weights.released import fetched, released

SEED_RANGE = click.IntRange(0, 2**31 - 1)


class WeightsFile(click.ParamType):
    """A file or folder of weights, `hf://owner/name`, or the name of released weights that were fetched."""

    name = "weights"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if isinstance(value, Path) or value not in released() or Path(value).exists():
            return Path(value)
        found = fetched(released()[value])
        if found is None:
            raise AvsctlError(f"The weights {value} are not on this machine. Run 'avsctl weights fetch {value}' first.")
        return found

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(name) for name in released() if name.startswith(incomplete)]
        return [*names, CompletionItem(incomplete, type="file")]


WEIGHTS = WeightsFile()


def command(name: str, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a subcommand with the options that all share; its function gets `workspace: Workspace`."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        made = click.command(name, **settings)(_shared(output_options(function)))
        return made

    return decorate


def output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--debug` and `-v/-q`, also for a command that needs no workspace and no file of options."""
    for option in (
        click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."),
        click.option(
            "-v/-q",
            "--verbose/--quiet",
            default=None,
            expose_value=False,
            is_eager=True,
            callback=_set_verbosity,
            help="More or fewer notes on stderr.",
        ),
    ):
        function = option(function)
    return function


def _shared(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False),
            expose_value=False,
            is_eager=True,
            callback=_read_config,
            metavar="FILE",
            help="TOML or JSON file with options of this command.",
        ),
        click.option(
            "-w",
            "--workspace",
            envvar="AVSCTL_WORKSPACE",
            default=".",
            type=click.Path(path_type=Path, file_okay=False),
            callback=lambda ctx, option, value: Workspace(value),
            show_default="here",
            metavar="DIR",
            help="Folder that holds all caches, runs and reports (or AVSCTL_WORKSPACE).",
        ),
    ):
        function = option(function)
    return function


def _set_verbosity(ctx: click.Context, option: click.Parameter, value: bool | None) -> None:
    set_up_logging({None: 0, True: 1, False: -1}[value])


def _read_config(ctx: click.Context, option: click.Parameter, value: Path | None) -> None:
    if value is None:
        return
    content = load_config(value)
    name = ctx.command_path.split(" ", 1)[-1]  # "train-avs", "prepare avsbench"
    made_for = content.pop("command", name)
    if made_for != name:
        raise AvsctlError(f"{value} holds options of 'avsctl {made_for}', not of 'avsctl {name}'.")
    known = {parameter.name: parameter for parameter in ctx.command.params}
    unknown = sorted(name for name in content if name.replace("-", "_") not in known)
    if unknown:
        raise AvsctlError(
            f"{value} has options that 'avsctl {name}' does not know: {', '.join(unknown)}. See 'avsctl {name} --help'."
        )
    # None in a recorded config means that the option was not given.
    ctx.default_map = {name.replace("-", "_"): setting for name, setting in content.items() if setting is not None}


def load_config(path: Path) -> dict[str, Any]:
    """Read a TOML or JSON file of options.

    Raises: AvsctlError: If it is missing, not readable as what its name says, or not a table.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except FileNotFoundError:
        raise AvsctlError(f"No config file at {path}.") from None
    except (UnicodeDecodeError, ValueError) as error:
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise AvsctlError(f"{path} is not readable {kind} ({error}).") from None
    if not isinstance(content, dict):
        raise AvsctlError(f"{path} must hold a table of options, not a {type(content).__name__}.")
    return content


def subset_option(default: str | None = "all", help: str = "Which subset's clips.") -> Callable:
    """`--subset s4|ms3|v2|all` (or a name of one's own dataset)."""
    return click.option("--subset", default=default, show_default=True, metavar=f"{'|'.join(SUBSETS)}|all", help=help)


def split_option(default: str = "test") -> Callable:
    """`--split train|val|test|all`."""
    return click.option("--split", type=click.Choice([*SPLITS, "all"]), default=default, show_default=True)


def device_options(function: Callable) -> Callable:
    """`--device` and `--precision`."""
    function = click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16"]),
        default="fp32",
        show_default=True,
        help="Number format of the network's matrix products.",
    )(function)
    return click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps …")(function)


overwrite_option = click.option("--overwrite", is_flag=True, help="Replace what is there.")
repair_option = click.option(
    "--repair",
    is_flag=True,
    help="Check every clip of the finished cache against its checksum and make only the damaged ones again.",
)


def check_repair(repair: bool, overwrite: bool) -> None:
    """Raise AvsctlError if both are given."""
    if repair and overwrite:
        raise AvsctlError("--repair keeps what is whole and --overwrite makes all of it again: give one of them.")


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
workers_option = click.option(
    "--workers", type=click.IntRange(min=0), default=None, show_default="all cores", help="Worker processes."
)
seed_option = click.option("--seed", type=SEED_RANGE, default=0, show_default=True)
