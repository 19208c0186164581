"""The shell completes commands, options and their values, by the one line that the docs give."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

QUICKSTART = Path(__file__).parents[2] / "docs" / "quickstart.md"


def _avsctl(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "avsctl"], capture_output=True, text=True, env={**os.environ, **environment}
    )
    return done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("avsctl pre", {"plain,prepare", "plain,predict-priors"}),
        ("avsctl train-avs --prese", {"plain,--preset"}),
        ("avsctl weights fetch vgg", {"plain,vggish", "plain,vggish-pca"}),
        ("avsctl evaluate --split v", {"plain,val"}),
    ],
)
def test_what_is_typed_is_completed(typed, offered):
    answer = _avsctl(_AVSCTL_COMPLETE="bash_complete", COMP_WORDS=typed, COMP_CWORD=str(len(typed.split()) - 1))
    assert set(answer.split()) == offered


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_the_documented_line_sets_bash_up(tmp_path):
    line = re.search(r"^eval .*bash_source.*$", QUICKSTART.read_text(encoding="utf-8"), re.MULTILINE)[0]
    command = tmp_path / "avsctl"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m avsctl "$@"\n')
    command.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{line}; complete -p avsctl"],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
    )
    assert "_avsctl_completion avsctl" in done.stdout, done.stderr
