"""A run that was stopped anywhere and continued equals one that never stopped."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from avsctl.cli._console import track
from avsctl.configs import resolve_training
from avsctl.errors import AvsctlError
from avsctl.stages.train import train
from avsctl.stopping import Stopped, stopping_on_signals
from avsctl.training.checkpoint import read_position
from avsctl.workspace import Run, Workspace

OPTIONS = {"image_size": 64, "epochs": 2, "batch_clips": 2, "max_steps": 3, "subset": "ms3"}


class StopAfter:
    """Progress that stops the run after so many steps."""

    def __init__(self, steps: int):
        self.left = steps

    def __call__(self, items, description="", total=None):
        for item in items:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            yield item


def _config(task: str, **given):
    return resolve_training(task, "tiny", "ms3", {**OPTIONS, **given})


@pytest.mark.parametrize(("steps", "precision"), [(1, "fp32"), (2, "fp32"), (3, "fp32"), (2, "fp16")])
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(
    tiny_workspace, workspace_copy, tmp_path, steps, precision
):
    config = _config("avs", batch_clips=1, max_steps=2, seed=11, precision=precision)
    straight = train(Workspace(workspace_copy(tiny_workspace)), config, device="cpu")
    other = Workspace(tmp_path / "other")
    other.root.mkdir()
    for name in ("clips.h5", "audio.h5"):
        (other.root / name).symlink_to(tiny_workspace / name)
    with pytest.raises(KeyboardInterrupt):
        train(other, config, device="cpu", checkpoint_minutes=1e-9, track=StopAfter(steps))
    assert not Run(other.run_folder("avs", config.run_name)).complete
    resumed = train(other, config, device="cpu")
    for name in ("model.safetensors", "last.safetensors", "record.json", "config.json", "log.jsonl"):
        assert (resumed / name).read_bytes() == (straight / name).read_bytes(), name
    scaler = read_position(straight / "last.safetensors")["scaler"]
    assert scaler.get("_growth_tracker", 0) + scaler.get("scale", 0) > 0 if precision == "fp16" else not scaler


def test_a_complete_run_is_left_alone_and_an_unfinished_one_goes_on(tiny_workspace, workspace_copy):
    workspace = Workspace(workspace_copy(tiny_workspace))
    config = _config("avs", epochs=1, max_steps=1)
    folder = train(workspace, config, device="cpu")
    before = (folder / "model.safetensors").stat().st_mtime_ns
    train(workspace, config, device="cpu")
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(AvsctlError, match="a run with other options .lr.*--overwrite"):
        train(workspace, _config("avs", epochs=1, max_steps=1, lr=0.5), device="cpu")
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**record, "complete": False}))
    train(workspace, config, device="cpu")
    assert json.loads((folder / "record.json").read_text()) == record


def test_to_resume_there_must_be_a_run(tiny_workspace, workspace_copy):
    with pytest.raises(AvsctlError, match="No run to continue at .*avs.*Leave --resume out"):
        train(Workspace(workspace_copy(tiny_workspace)), _config("avs", seed=5), device="cpu", resume=True)


class KilledBefore:
    """Stands in for a function: the process dies where it would be called for the n-th time."""

    def __init__(self, function, calls: int):
        self.function, self.left = function, calls

    def __call__(self, *given, **named):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return self.function(*given, **named)


KILLS = [("avsctl.training.loop.save_checkpoint", 3), *(("avsctl.stages.train._write_record", n) for n in (2, 3))]


def _score_what_trains(patch):
    """Make the second of two phases the better one."""
    trained = lambda model: sum(parameter.requires_grad for parameter in model.parameters()) / 1e4  # noqa: E731
    patch.setattr("avsctl.stages.train.validate", lambda model, *given: {"miou": trained(model), "f_score": 0.5})


@pytest.fixture(scope="module")
def two_phases(tiny_workspace, tmp_path_factory):
    """An uninterrupted run of two phases, one epoch each."""
    config = _config("avs", batch_clips=1, max_steps=1, seed=11, schedule="two-phase", phase1_share=0.5)
    with pytest.MonkeyPatch.context() as patch:
        _score_what_trains(patch)
        return config, train(_beside(tiny_workspace, tmp_path_factory.mktemp("straight")), config, device="cpu")


def _beside(workspace, folder):
    for name in ("clips.h5", "audio.h5"):
        (folder / name).symlink_to(workspace / name)
    return Workspace(folder)


@pytest.mark.parametrize("function, calls", KILLS)
def test_a_kill_between_the_files_of_an_epoch_changes_nothing(
    two_phases, tiny_workspace, tmp_path, monkeypatch, function, calls
):
    config, straight = two_phases
    other = _beside(tiny_workspace, tmp_path)
    _score_what_trains(monkeypatch)
    with monkeypatch.context() as patch:
        module, name = function.rsplit(".", 1)
        patch.setattr(function, KilledBefore(getattr(sys.modules[module], name), calls))
        with pytest.raises(KeyboardInterrupt):
            train(other, config, device="cpu")
    resumed = train(other, config, device="cpu")
    for name in ("model.safetensors", "last.safetensors", "record.json", "config.json", "curve.png"):
        assert (resumed / name).read_bytes() == (straight / name).read_bytes(), name


def test_training_stops_on_a_loss_that_is_no_number_and_names_the_clips(tiny_workspace, workspace_copy, monkeypatch):
    from avsctl_models import Criterion

    workspace = Workspace(workspace_copy(tiny_workspace))
    nan = {"loss": torch.tensor(float("nan"), requires_grad=True)}
    monkeypatch.setattr(Criterion, "forward", lambda self, *given, **more: nan)
    with pytest.raises(AvsctlError, match=r"loss became nan at epoch 1, step 1 \(clips .+\)"):
        train(workspace, _config("avs"), device="cpu")


def test_base_weights_may_not_change_under_a_resumed_run(tiny_workspace, workspace_copy):
    workspace = Workspace(workspace_copy(tiny_workspace))
    config = _config("avs")
    with pytest.raises(KeyboardInterrupt):
        train(workspace, config, device="cpu", checkpoint_minutes=1e-9, track=StopAfter(1))
    last = workspace.run_folder("avs", config.run_name) / "last.safetensors"
    assert read_position(last)["epoch"] == 1
    data = bytearray(last.read_bytes())
    place = data.index(b"frozen") + 12
    data[place] = ord("0") if data[place] != ord("0") else ord("1")
    last.write_bytes(data)
    with pytest.raises(AvsctlError, match="belongs to other base weights"):
        train(workspace, config, device="cpu", resume=True)


def test_stage_two_trains_with_and_without_a_prior(tiny_workspace, workspace_copy):
    workspace = Workspace(workspace_copy(tiny_workspace))
    for prior in ("oracle", "none"):
        folder = train(workspace, _config("avss", prior=prior, epochs=1, max_steps=1), device="cpu")
        record = Run(folder).record
        assert record["complete"] and record["data"]["prior"] == (None if prior == "none" else "oracle")
        assert record["model"]["settings"]["prior_fusion"] is (prior == "oracle")
        assert (folder / "curve.png").stat().st_size > 1000


def test_a_prior_that_is_not_there_names_its_command(tiny_workspace, workspace_copy):
    workspace = Workspace(workspace_copy(tiny_workspace))
    with pytest.raises(AvsctlError, match="predict-priors --level low"):
        train(workspace, _config("avss", prior="low"), device="cpu")


def test_only_some_epochs_and_the_last_are_validated(tiny_workspace, workspace_copy):
    config = _config("avs", epochs=3, max_steps=1, validate_every=2)
    folder = train(Workspace(workspace_copy(tiny_workspace)), config, device="cpu")
    record = Run(folder).record
    assert ["miou" in entry for entry in record["history"]] == [False, True, True]
    assert record["best"]["epoch"] in (2, 3) and record["complete"]


def test_a_run_that_cannot_fit_on_its_disk_is_refused_before_it_begins(tiny_workspace, workspace_copy, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(2**30, 2**30 - 1000, 1000))
    workspace = Workspace(workspace_copy(tiny_workspace))
    with pytest.raises(AvsctlError, match="The run .*-s77 needs about .* MB in .*, but 1.0 KB are free there"):
        train(workspace, _config("avs", seed=77), device="cpu")


@pytest.mark.parametrize("where", ["avsctl.training.step.run_model", "avsctl.stages.train.decided_classes"])
def test_a_signal_ends_after_the_step_in_hand_and_the_run_goes_on_exactly(
    tiny_workspace, tmp_path, monkeypatch, where
):
    config = _config("avs", batch_clips=1, max_steps=2, epochs=1, seed=11)
    workspaces = []
    for name in ("straight", "stopped"):
        (tmp_path / name).mkdir()
        workspaces.append(_beside(tiny_workspace, tmp_path / name))
    straight = train(workspaces[0], config, device="cpu")
    with monkeypatch.context() as patch, pytest.raises(Stopped), stopping_on_signals():
        module, name = where.rsplit(".", 1)
        inner = getattr(sys.modules[module], name)

        def signalled(*given, **named):
            os.kill(os.getpid(), signal.SIGTERM)
            return inner(*given, **named)

        patch.setattr(where, signalled)
        train(workspaces[1], config, device="cpu", track=track)
    last = workspaces[1].run_folder("avs", config.run_name) / "last.safetensors"
    assert read_position(last)["step"] == (1 if where.endswith("run_model") else 2)
    resumed = train(workspaces[1], config, device="cpu")
    for name in ("model.safetensors", "last.safetensors", "record.json", "log.jsonl"):
        assert (resumed / name).read_bytes() == (straight / name).read_bytes(), name


def test_a_few_steps_without_a_loss_may_be_left_out(tiny_workspace, tmp_path, monkeypatch, caplog):
    from avsctl_models import Criterion

    whole, calls = Criterion.forward, []

    def sometimes(self, *given, **more):
        calls.append(1)
        return {"loss": torch.tensor(float("inf"))} if len(calls) in (1, 3) else whole(self, *given, **more)

    monkeypatch.setattr(Criterion, "forward", sometimes)
    config = _config("avs", skip_nonfinite=1, batch_clips=1, epochs=1, max_steps=2)
    workspace = _beside(tiny_workspace, tmp_path)
    folder = train(workspace, config, device="cpu")
    assert "step left out, 1 of 1" in caplog.text
    skipped, step, epoch = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    assert len(skipped["skipped"]) == 1 and "loss" not in skipped
    assert step["loss"] > 0 and step["lr"] > 0 and epoch["kind"] == "epoch" and epoch["miou"] >= 0
    with pytest.raises(AvsctlError, match="loss became inf at epoch 1, step 2 .* after 1 that were skipped"):
        monkeypatch.setattr(Criterion, "forward", lambda self, *given, **more: {"loss": torch.tensor(float("inf"))})
        train(workspace, replace(config, seed=2), device="cpu")


def test_a_step_in_parts_learns_what_a_whole_one_does(tiny_workspace, tmp_path):
    weights = []
    for parts in (1, 2):
        given = {"model": "avsegformer", "freeze_backbone": True, "epochs": 1, "max_steps": 1, "accumulate": parts}
        (tmp_path / str(parts)).mkdir()
        folder = train(_beside(tiny_workspace, tmp_path / str(parts)), _config("avs", lr=1e-2, **given), device="cpu")
        losses = [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]
        weights.append((losses, load_file(folder / "model.safetensors")))
    assert weights[0][0] == pytest.approx(weights[1][0], rel=1e-5)
    for name, tensor in weights[0][1].items():
        # AdamW's first step is the gradient's sign: where that is nearly 0, rounding may turn it.
        assert (tensor - weights[1][1][name]).abs().float().mean() < 1e-4, name
