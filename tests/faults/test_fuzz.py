"""A sample of the corpus of damaged files, and that its harness sees what it is to see. `fuzz.py` runs it whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # as `python tests/faults/fuzz.py` has it
from fuzz import SECONDS, _problem
from fuzz_targets import KINDS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits of a process are those of Linux")
SCRIPT = Path(__file__).with_name("fuzz.py")
SAMPLE = 2
"""Mutants of each kind: about half a minute on one slow core."""


def test_a_sample_ends_in_0_or_in_one_line():
    words = [sys.executable, SCRIPT, "--each", str(SAMPLE), "--seed", "20", "--wait", "900"]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    mutants, passed, refused, failed = map(int, re.search(r"^all +(.*)", done.stdout, re.M)[1].split())
    assert mutants == SAMPLE * len(KINDS) and failed == 0
    assert passed and refused, "a corpus that harms nothing, or lets nothing through, tests nothing"


@pytest.mark.parametrize(
    ("code", "output", "seconds", "memory", "says"),
    [
        (0, "fine\n", 1.0, 10**8, ""),
        (2, "12:00:00 a note\nerror: bad. Mend it.\n", 1.0, 10**8, ""),
        (2, "", 1.0, 10**8, "0 lines of error"),
        (2, "error: a\nerror: b\n", 1.0, 10**8, "2 lines of error"),
        (1, "error: KeyError: 'a'. This is a fault in avsctl\n", 1.0, 10**8, "exit code 1"),
        (0, "Traceback (most recent call last):\nKeyError\n", 1.0, 10**8, "traceback"),
        (-11, "", 1.0, 10**8, "exit code -11"),
        (0, "", SECONDS + 1.0, 10**8, "more than 60 s"),
        (0, "", 1.0, 5 * 10**9, "5.0 GB"),
        (2, "error: \x1b[31mred\n", 1.0, 10**8, "control characters"),
        (0, "/x/y.py:3: UserWarning: odd\n", 1.0, 10**8, "library's own words"),
    ],
)
def test_what_counts_as_a_failure(code, output, seconds, memory, says):
    found = _problem(code, output, seconds, memory)
    assert says in found and bool(says) == bool(found)
