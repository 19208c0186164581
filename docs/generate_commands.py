"""Writes docs/commands.md from the commands' own help, and docs/api.md: python docs/generate_commands.py"""

from __future__ import annotations

from pathlib import Path

import click

from avsctl.cli import COMMANDS, cli

HEADER = """# Commands

Printed by `python docs/generate_commands.py` from the commands' own help; a test compares it.

Results go to stdout, progress and notes to stderr. Exit codes: 0 done, 1 failed, 2 wrong use or bad input (one line
says what, where and what to do), 130 and 143 stopped.
"""


def reference() -> str:
    """The whole page."""
    parts = [HEADER]
    context = click.Context(cli, info_name="avsctl", **cli.context_settings)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        parts += _section(command, click.Context(command, parent=context, info_name=name), 2)
    return "\n".join(parts)


def _section(command: click.Command, context: click.Context, level: int) -> list[str]:
    context.terminal_width = context.max_content_width = 100
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    parts = [f"{'#' * level} {context.command_path}\n", f"```text\n{text}\n```\n"]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            parts += _section(child, click.Context(child, parent=context, info_name=name), level + 1)
    return parts


if __name__ == "__main__":
    import generate_api

    for name, text in (("commands.md", reference()), ("api.md", generate_api.reference())):
        target = Path(__file__).with_name(name)
        target.write_text(text, encoding="utf-8")
        print(target)
