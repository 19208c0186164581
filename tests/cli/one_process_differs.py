"""Started by torchrun in a test: `avsctl`, with something happening in the process of rank 1 alone.

`fail` lets it fail to read a clip; `stop` lets it send SIGTERM to torchrun in the first step, and wait for its turn.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import avsctl.data.samples
import avsctl.training.step
from avsctl.cli import main
from avsctl.errors import AvsctlError
from avsctl.stopping import received_signal

run_model = avsctl.training.step.run_model


def fail(*given, **named):
    raise AvsctlError("Clip 7 is damaged. Repair it.")


def stop(*given, **named):
    if received_signal() is None:
        os.kill(os.getppid(), signal.SIGTERM)
    while received_signal() is None:
        time.sleep(0.01)
    return run_model(*given, **named)


what = sys.argv.pop(1)
if os.environ["RANK"] == "1" and what == "fail":
    avsctl.data.samples.ClipSamples.__getitem__ = fail
if os.environ["RANK"] == "1" and what == "stop":
    avsctl.training.step.run_model = stop
main()
