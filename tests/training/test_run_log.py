"""What a run notes of every step and epoch."""

from __future__ import annotations

import json
import sys

import pytest

from avsctl.errors import AvsctlError
from avsctl.training.run_log import RunLog


def _run(log: RunLog, epochs: int, first: int = 1, done: int = 0) -> None:
    """Two steps an epoch, `done` of the first epoch's being there already."""
    for epoch in range(first, epochs + 1):
        for step in range(1 + (done if epoch == first else 0), 3):
            log.step(epoch, step, 2 * (epoch - 1) + step, {"loss": epoch / step, "lr": 0.1})
        log.epoch({"epoch": epoch, "phase": 1, "loss": 0.5, "miou": 0.25})


@pytest.mark.parametrize(("epoch", "step"), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)])
def test_lines_after_the_checkpoint_are_written_anew(tmp_path, epoch, step):
    for name in ("straight", "stopped"):
        (tmp_path / name).mkdir()
        log = RunLog(tmp_path / name)
        log.begin(0, 0)
        _run(log, 2)
    with log.path.open("a") as file:
        file.write('{"kind": "step", "epo')  # a kill in the middle of a line
    again = RunLog(tmp_path / "stopped")
    again.begin(epoch, step)
    _run(again, 2, first=epoch + 1, done=step)
    assert again.path.read_bytes() == RunLog(tmp_path / "straight").path.read_bytes()


def test_an_entry_says_what_it_is_of(tmp_path):
    log = RunLog(tmp_path)
    log.begin(0, 0)
    _run(log, 1)
    kinds = [(entry["kind"], entry["epoch"]) for entry in map(json.loads, log.path.read_text().splitlines())]
    assert kinds == [("step", 1), ("step", 1), ("epoch", 1)]


def test_tensorboard_draws_the_same_numbers(tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = RunLog(tmp_path, tensorboard=True)
    log.begin(0, 0)
    _run(log, 2)
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 1), (2, 0.5), (3, 2), (4, 1)]
    assert [(e.step, e.value) for e in events.Scalars("epoch/miou")] == [(1, 0.25), (2, 0.25)]


def test_without_tensorboard_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(AvsctlError, match=r"pip install 'avsctl\[tensorboard\]'"):
        RunLog(tmp_path, tensorboard=True)
