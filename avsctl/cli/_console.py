"""The one rich console, the progress bar, the log, and what an error looks like."""

from __future__ import annotations

import io
import logging
import os
import shlex
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import click
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from avsctl.caches.names import visible
from avsctl.distributed import has_joined, launched, program, speaks
from avsctl.errors import AvsctlError
from avsctl.stopping import Stopped, finishing_items, stop_here, stop_requested, stopping_on_signals

# A pipe has no width of its own; 80 columns would squeeze the tables.
out = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 120)
"""Results go here (stdout)."""
err = Console(stderr=True, soft_wrap=True)
"""Progress, logs and errors go here (stderr)."""
SECONDS_TO_SPEAK = 60
"""For the main one of several processes, when another has failed before they met."""


def track(items: Iterable[Any], description: str = "", total: int | None = None) -> Iterator[Any]:
    """Yield the items and draw a bar with rate and time left; no bar when stderr is no terminal.

    Raises: Stopped: After the item in hand, if a signal asked to stop.
    """
    with finishing_items():
        for item in _shown(items, description, total):
            yield item
            stop_here()


def _shown(items: Iterable[Any], description: str, total: int | None) -> Iterator[Any]:
    if not err.is_terminal:
        yield from items
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(description, total=total, rate="")
        for item in items:
            yield item
            speed = progress.tasks[0].speed
            progress.update(task, advance=1, rate=f"{speed:.1f}/s" if speed else "")


def set_up_logging(verbosity: int) -> None:
    """Show avsctl's log on stderr: -1 warnings only, 0 notes, 1 details."""
    level = {-1: logging.WARNING, 0: logging.INFO}.get(verbosity, logging.DEBUG)
    if err.is_terminal:
        handler: logging.Handler = RichHandler(console=err, show_path=False, show_level=False, highlighter=None)
        handler.setFormatter(logging.Formatter("%(message)s", datefmt="%H:%M:%S"))
    else:
        # Rich would break lines at 80 columns here, which no file or pipe wants.
        handler = _PlainHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    for name in ("avsctl", "avsctl_models"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False


class _PlainHandler(logging.Handler):
    """One line for each record on whatever stderr is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(visible(self.format(record)), err=True)


def run_guarded(command: click.Command) -> int:
    """Run a command and return the exit code: 0 done, 1 failed, 2 wrong use or bad input, 130/143 stopped."""
    debug = bool(os.environ.get("AVSCTL_DEBUG")) or "--debug" in sys.argv
    if not speaks():
        return _run_silently(command, debug)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be text
    return _run(command, debug)


def _run(command: click.Command, debug: bool) -> int:
    try:
        with stopping_on_signals(announce=_announce_stop):
            code = command.main(standalone_mode=False, prog_name="avsctl") or 0
            late = stop_requested()
        if late is None:
            return code
        # It came too late to leave anything out, but whoever runs a list of commands wants no more of them.
        err.print("stopped; this command was done already", markup=False)
        return 128 + late
    except Stopped as stop:
        text = f"stopped; what is finished is kept. Continue with: {_continuing_command()}"
        err.print(text, markup=False, highlight=False)
        return 128 + stop.signum
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        place = getattr(error, "ctx", None)
        command_path = place.command_path if place else "avsctl"
        _print_error(f"{error.format_message().rstrip('.')}. See '{command_path} --help'.")
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except Exception as error:
        if debug:
            raise
        return _report(error)


def _run_silently(command: click.Command, debug: bool) -> int:
    """Run a command beside a main process that says what there is to say; tracebacks are shown with --debug."""
    code, said = 1, io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        try:
            code = _run(command, debug)
        except Exception:
            print(traceback.format_exc(), file=sys.__stderr__)
    if code and not has_joined():
        # What is wrong before the processes meet is mostly wrong in all of them. Torchrun ends them all as soon as one
        # has ended; the main one has to speak before.
        time.sleep(SECONDS_TO_SPEAK)
        click.echo(said.getvalue(), err=True, nl=False)
    return code


def _announce_stop() -> None:
    at_once = "" if launched() else "; once more stops at once"
    err.print(f"stopping after what is in hand{at_once}", markup=False)


def _continuing_command() -> str:
    """This command again; only a training would begin anew with --overwrite, everything else goes on with it."""
    words = sys.argv[1:]
    training = bool(words) and words[0].startswith("train-")
    kept = (word for word in words if not (training and word == "--overwrite"))
    return f"{program()} {shlex.join(kept)}"


def _report(error: Exception) -> int:
    if isinstance(error, AvsctlError):
        _print_error(str(error))
        return 2
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        _print_error(f"{error.strerror or error}{place}. Check the path, its permissions and the space on its disk.")
        return 2
    if isinstance(error, MemoryError):
        _print_error("Not enough memory. Close other programs, or choose smaller sizes.")
        return 1
    _print_error(f"{type(error).__name__}: {error}. This is a fault in avsctl; run again with --debug for the details.")
    return 1


def exit_with_failures(failures: Sequence[Any], total: int, what: str) -> None:
    """Where some of many inputs failed, list them on stderr, each with its `path` and `reason`, and exit with 1."""
    if not failures:
        return
    for failure in failures:
        named = str(failure.path) in failure.reason
        _print_error(failure.reason if named else f"{failure.path}: {failure.reason}")
    _print_error(f"{len(failures)} of {total} {what}, see above; the others are done")
    raise click.exceptions.Exit(1)


def _print_error(text: str) -> None:
    one_line = visible(" ".join(text.split()))
    err.print(f"[bold red]error:[/] {one_line}" if err.is_terminal else f"error: {one_line}", markup=err.is_terminal)
