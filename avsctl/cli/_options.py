"""Options that mean the same in every command."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from avsctl.ahead import PREFETCH
from avsctl.caches.clips import SPLITS, SUBSETS
from avsctl.caches.shares import Share
from avsctl.cli._config import read_config
from avsctl.cli._console import set_up_logging
from avsctl.distributed import joined, launched
from avsctl.errors import AvsctlError
from avsctl.limits import MAX_PIXELS, PIXELS_VARIABLE
from avsctl.workspace import Workspace
from avsctl_models.weights.released import fetched, released


class FloatRange(click.FloatRange):
    """A range of finite numbers: NaN is in every range of click's, for no comparison with it fails."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. Raises: click.BadParameter: If it is none, NaN, infinite, or out of the range."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number


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


def command(name: str, *, spreads: bool = False, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a subcommand with the options that all share; its function gets `workspace: Workspace`.

    Args:
        spreads: whether several processes that torchrun started share its work.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        @functools.wraps(function)
        def run(*given: Any, **named: Any) -> Any:
            if launched() and not spreads:
                raise AvsctlError(f"'avsctl {name}' is not for several processes. Run it without torchrun.")
            with joined():
                return function(*given, **named)

        return click.command(name, **settings)(_shared(output_options(run)))

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
            callback=read_config,
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
        type=click.Choice(["fp32", "bf16", "fp16"]),
        default="fp32",
        show_default=True,
        help="Number format of the network's matrix products; bf16 pays on GPUs and on processors that multiply it "
        "natively, fp16 on GPUs.",
    )(function)
    return click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps …")(function)


def _limit_pixels(ctx: click.Context, option: click.Parameter, value: int | None) -> None:
    """Set the limit for this command and the processes it starts."""
    if value is None:
        return
    before = os.environ.get(PIXELS_VARIABLE)
    os.environ[PIXELS_VARIABLE] = str(value)
    ctx.call_on_close(lambda: _restore(PIXELS_VARIABLE, before))


def _restore(variable: str, value: str | None) -> None:
    os.environ.pop(variable, None)
    if value is not None:
        os.environ[variable] = value


pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    callback=_limit_pixels,
    expose_value=False,
    metavar="N",
    help=f"Refuse larger pictures before they are decoded (or {PIXELS_VARIABLE}). [default: {MAX_PIXELS:,}]",
)
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


class _ShareType(click.ParamType):
    """`i/n`: a `Share`."""

    name = "i/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Share:
        try:
            return value if isinstance(value, Share) else Share.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


share_option = click.option(
    "--shard",
    "share",
    type=_ShareType(),
    metavar="i/n",
    help="Only this machine's share of the clips, the i-th of n, into a file of its own; see merge-caches.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
workers_option = click.option(
    "--workers", type=click.IntRange(min=0), default=None, show_default="all cores", help="Worker processes."
)
seed_option = click.option("--seed", type=SEED_RANGE, default=0, show_default=True)
reading_workers_option = click.option(
    "--workers", type=click.IntRange(0), help="Processes that read clips. [default: none on a CPU, else 4]"
)


def prefetch_of(what: str, default: int | None = PREFETCH) -> Callable:
    """`--prefetch`, with what it does in a command."""
    shown = default is not None
    return click.option("--prefetch", type=click.IntRange(0), default=default, show_default=shown, help=what)


prefetch_option = prefetch_of(
    "Batches read ahead, by each worker or, without workers, by a thread; 0, without workers, reads each when it is "
    f"needed. [default: {PREFETCH}, but 0 where the network computes on all cores]",
    None,
)
compile_option = click.option(
    "--compile",
    is_flag=True,
    help="Compile the network's parts first (torch.compile): takes minutes and a C++ compiler. No gain on a CPU.",
)
batch_clips_option = click.option(
    "--batch-clips",
    type=click.IntRange(1),
    help="Clips that the network sees together, which can change last bits. [default: 1 on a CPU, else 4]",
)
