"""The docs say what the program does."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import click
import pytest

from avsctl.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _command_lines() -> list[tuple[str, str]]:
    lines = []
    for page in PAGES:
        for block in re.findall(r"```(?:bash|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.strip().removeprefix("$ ").split("  #")[0]
                if line.startswith("avsctl "):
                    lines.append((page.name, line))
    return lines


def test_the_command_reference_is_what_the_program_prints():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from generate_commands import reference
    finally:
        sys.path.pop(0)
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == reference(), "run python docs/generate_commands.py"


@pytest.mark.parametrize(("page", "line"), _command_lines())
def test_every_command_line_in_the_docs_parses(page, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"[\w./-]+\.(?:mp4|safetensors|pth|json|toml|csv)", line):
        if not Path(name).is_absolute():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("{}" if name.endswith(".json") else "")
    command, arguments = cli, shlex.split(line)[1:]
    context = click.Context(cli, info_name="avsctl")
    while isinstance(command, click.Group) and arguments:
        command = command.get_command(context, arguments[0])
        assert command is not None, f"{page}: {line}"
        context, arguments = click.Context(command, info_name=arguments[0], parent=context), arguments[1:]
    if "--help" not in arguments:
        command.make_context(context.info_name, arguments, parent=context.parent)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
