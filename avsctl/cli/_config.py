"""The `--config` file: options of a command, checked as if they had been typed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from avsctl.caches.files import parse_json, read_regular
from avsctl.errors import AvsctlError
from avsctl.limits import MAX_TEXT


def read_config(ctx: click.Context, option: click.Parameter, value: Path | None) -> None:
    """Take the options of a file as defaults; a callback of click."""
    if value is None:
        return
    content = load_config(value)
    name = ctx.command_path.split(" ", 1)[-1]  # "train-avs", "prepare avsbench"
    made_for = content.pop("command", name)
    if made_for != name:
        text = made_for if isinstance(made_for, str) and made_for.isprintable() else _shown(made_for)
        raise AvsctlError(f"{value} holds options of 'avsctl {text}', not of 'avsctl {name}'.")
    known = {parameter.name: parameter for parameter in ctx.command.params}
    unknown = sorted(name for name in content if name.replace("-", "_") not in known)
    if unknown:
        names = ", ".join(name if name.isprintable() and len(name) <= 60 else _shown(name) for name in unknown)
        raise AvsctlError(
            f"{value} has options that 'avsctl {name}' does not know: {names}. See 'avsctl {name} --help'."
        )
    # None in a recorded config means that the option was not given.
    ctx.default_map = {
        name.replace("-", "_"): _as_typed(value, known[name.replace("-", "_")], setting)
        for name, setting in content.items()
        if setting is not None
    }


def _as_typed(path: Path, option: click.Parameter, setting: Any) -> Any:
    """A setting as the command line would give it, so that it is checked in the same way.

    Raises: AvsctlError: If the option takes no such thing.
    """
    several = option.multiple or option.nargs != 1
    if several and isinstance(setting, list):
        return [_as_text(path, option, one) for one in setting]
    if isinstance(option, click.Option) and option.is_flag:
        if isinstance(setting, bool):
            return setting
        raise AvsctlError(f"{path}: {option.name} must be true or false, not {_shown(setting)}.")
    return [_as_text(path, option, setting)] if several else _as_text(path, option, setting)


def _as_text(path: Path, option: click.Parameter, setting: Any) -> str:
    if isinstance(setting, bool) or not isinstance(setting, (str, int, float)):
        raise AvsctlError(f"{path}: {option.name} can't be {_shown(setting)}. Write one value, as on the command line.")
    if isinstance(setting, str) and not setting.isprintable():
        raise AvsctlError(f"{path}: {option.name} is {_shown(setting)}, which holds characters that can't be printed.")
    if isinstance(setting, int) and abs(setting) >= 2**63:
        raise AvsctlError(f"{path}: {option.name} is a number of too many digits.")
    return str(setting)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def load_config(path: Path) -> dict[str, Any]:
    """Read a TOML or JSON file of options.

    Raises: AvsctlError: If it is missing, not readable as what its name says, or not a table.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        text = read_regular(path, MAX_TEXT).decode("utf-8")
        content = tomllib.loads(text) if path.suffix == ".toml" else parse_json(text)
    except FileNotFoundError:
        raise AvsctlError(f"No config file at {path}.") from None
    except RecursionError:
        raise AvsctlError(f"{path} nests too deep to be a file of options.") from None
    except ValueError as error:
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise AvsctlError(f"{path} is not readable {kind} ({error}).") from None
    if not isinstance(content, dict):
        raise AvsctlError(f"{path} must hold a table of options, not a {type(content).__name__}.")
    return content
