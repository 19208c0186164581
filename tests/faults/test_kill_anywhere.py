"""The short form of kill_anywhere.py: a few kills and requests to stop, and the same bytes after all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("kill_anywhere.py")


def test_a_killed_command_given_again_leaves_what_an_uninterrupted_one_does():
    words = ["--kills", "6", "--seed", "3", "--signals", "KILL,TERM", "--steps", "prepare,extract-audio,train-avs"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["kills"] >= 6 and counts["failed"] == 0
