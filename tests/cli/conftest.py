"""Commands run as typed, in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from avsctl.cli import cli
from avsctl.cli._console import run_guarded


@pytest.fixture
def typed(monkeypatch, capfd) -> Callable[..., tuple[int, str, str]]:
    """Run `avsctl` with words as a shell would: `typed("status", "--json")` gives exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["avsctl", *map(str, words)])
        capfd.readouterr()  # what came before is not this command's
        code = run_guarded(cli)
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run
