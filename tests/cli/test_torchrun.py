"""Two and three processes, started by torchrun itself, learn, score and write what one does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from train_both import train_both

from avsctl.training.checkpoint import read_position

SCRIPT = Path(__file__).with_name("one_process_differs.py")
BOTH = Path(__file__).with_name("train_both.py")
LAUNCHER = (sys.executable, "-m", "torch.distributed.run", "--standalone")  # --standalone: a free port
TRAIN = ("train-avs", "--device", "cpu", "--preset", "tiny", "--image-size", 64)
# AVSegFormer as `train_both` trains it.
FROZEN = (
    *TRAIN,
    "--model",
    "avsegformer",
    "--freeze-backbone",
    "--epochs",
    2,
    "--batch-clips",
    4,
    "--frames-per-clip",
    3,
    "--name",
    "avsegformer-one",
)
NO_SPREAD = ("status", "prepare synthetic", "extract-audio", "experiment table1", "visualize x.mp4", "report")


def torchrun(processes: int, folder: Path, *words: object, script: tuple = ("-m", "--", "avsctl")) -> tuple:
    """Exit code of torchrun, stdout, and what avsctl and torchrun said on stderr."""
    command = [*LAUNCHER, "--nproc-per-node", processes, *script, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=540
    )
    return done.returncode, done.stdout, done.stderr


def alone(typed, folder: Path, monkeypatch, *words: object) -> None:
    monkeypatch.chdir(folder)
    code, _, err = typed(*words)
    assert code == 0, err


def beside(workspace: Path, folder: Path) -> Path:
    for name in ("clips.h5", "audio.h5"):
        (folder / name).symlink_to(workspace / name)
    return folder


@pytest.fixture(scope="module")
def trained(tiny_workspace, tmp_path_factory) -> Path:
    """Runs of the same trainings in one process, in one by parts, in two, and in three of which one has two parts."""
    folder = beside(tiny_workspace, tmp_path_factory.mktemp("trained"))
    for name, accumulate in (("one", 1), ("parts", 2)):
        train_both(folder, name, accumulate)
    for processes, words in ((2, ("two", 1, "overflow")), (3, ("three", 2))):
        code, _, err = torchrun(processes, folder, *words, script=(BOTH,))
        assert code == 0, err
    return folder / "runs" / "avs"


def assert_same_learning(run: Path, other: Path) -> None:
    """Compare weights, and the optimiser's means of the gradients, after the last step."""
    first, second = (load_file(folder / "last.safetensors") for folder in (run, other))
    assert first.keys() == second.keys()
    spread = {name: tensor.sqrt() for name, tensor in first.items() if name.endswith("|exp_avg_sq")}
    largest = float(max(tensor.max() for tensor in spread.values()))  # of all gradients
    for name in (name.removesuffix("|exp_avg_sq") for name in spread):
        # float32 sums in another order, through a dozen layers and four steps.
        mean = f"{name}|exp_avg"
        torch.testing.assert_close(first[mean], second[mean], rtol=0, atol=1e-4 * largest, msg=name)
        # Adam divides by the gradient's size: where that is rounding alone, as of the keys' biases, so is the step.
        told = spread[f"{name}|exp_avg_sq"] > 1e-6 * largest
        weight = name.replace("optimizer.", "model.")
        # A fifth of what one of the four steps moves a weight.
        torch.testing.assert_close(first[weight][told], second[weight][told], rtol=0, atol=2e-4, msg=weight)


@pytest.mark.parametrize("other", ["parts", "two", "three"])
def test_a_step_in_parts_or_processes_learns_what_a_whole_one_does(trained, other):
    runs = [trained / f"avsegformer-{name}" for name in ("one", other)]
    assert_same_learning(*runs)
    assert_same_history(*runs, rel=1e-4)


@pytest.mark.parametrize("other", ["parts", "two", "three"])
def test_aavs_learns_the_same_up_to_the_rounding_of_float64(trained, other):
    runs = [trained / f"aavs-{name}" for name in ("one", other)]
    first, second = (load_file(run / "last.safetensors") for run in runs)
    assert first.keys() == second.keys()
    assert all(tensor.dtype != torch.float32 for name, tensor in first.items() if not name.endswith("|step"))
    for name, tensor in first.items():
        # A sum in another order rounds by 1e-16; one in float32, a point drawn otherwise or a count of a part alone
        # would differ by 1e-7 and more.
        torch.testing.assert_close(second[name], tensor, rtol=0, atol=1e-10, msg=name)
    assert_same_history(*runs, rel=1e-10)


def assert_same_history(*runs: Path, rel: float) -> None:
    histories = [json.loads((run / "record.json").read_text())["history"] for run in runs]
    for whole, parted in zip(*histories, strict=True):
        assert whole == pytest.approx(parted, rel=rel)


@pytest.mark.parametrize("model", ["avsegformer", "aavs"])
def test_two_processes_leave_the_files_of_one_process_that_computes_two_parts(trained, model):
    one, parts, two = (trained / f"{model}-{name}" for name in ("one", "parts", "two"))
    # The last step, of two clips, has one in each part, so that all sums are those of two addends.
    for name in ("log.jsonl", "record.json"):
        assert (two / name).read_bytes() == (parts / name).read_bytes(), name
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in one.iterdir())
    assert not list(trained.glob(".*.lock"))


def test_an_overflow_in_one_process_lets_all_leave_the_step_out(trained):
    folder = trained.parents[1]
    first, second = (json.loads((folder / f"overflow-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second  # scales and weights, after every step
    (before, weights), (scale, same), (after, learnt) = first
    assert (scale, same) == (before / 2, weights)
    assert (after, learnt != same) == (scale, True)
    assert read_position(trained / "overflow" / "last.safetensors")["scaler"]["scale"] == after


def test_a_stopped_training_goes_on_with_any_number_of_processes(trained, tiny_workspace, tmp_path, typed, monkeypatch):
    folder = beside(tiny_workspace, tmp_path)
    code, out, err = torchrun(2, folder, "stop", *FROZEN, script=(SCRIPT,))
    assert code != 0 and not out
    assert "stopped; what is finished is kept. Continue with: torchrun --nproc-per-node 2 -m -- avsctl train-avs" in err
    run = folder / "runs" / "avs" / "avsegformer-one"
    assert {name: read_position(run / "last.safetensors")[name] for name in ("epoch", "step")} == {
        "epoch": 0,
        "step": 1,
    }
    assert not list(run.parent.glob(".*.lock"))
    shutil.copytree(run, aside := tmp_path / "aside")
    alone(typed, folder, monkeypatch, *FROZEN)
    assert_same_learning(trained / "avsegformer-one", run)
    run.rename(tmp_path / "by-one")
    aside.rename(run)
    code, _, err = torchrun(3, folder, *FROZEN)
    assert code == 0, err
    assert "continuing at epoch 1, step 1" in err
    assert_same_learning(trained / "avsegformer-one", run)


def test_batch_norms_and_cached_features_are_those_of_one_process(tiny_workspace, tmp_path, typed, monkeypatch):
    words = (*TRAIN, "--model", "tpavi", "--freeze-backbone", "--epochs", 1, "--batch-clips", 5)
    words = (*words, "--cache-features", "all", "--cache-levels", 3, "--no-augment", "--workers", 1)
    homes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        homes.append(beside(tiny_workspace, tmp_path / name))
    alone(typed, homes[0], monkeypatch, *words, "--name", "run", "--accumulate", 2)
    code, _, err = torchrun(2, homes[1], *words, "--name", "run")
    assert code == 0, err
    assert_same_learning(*(home / "runs" / "avs" / "run" for home in homes))
    weights = [load_file(home / "runs" / "avs" / "run" / "last.safetensors") for home in homes]
    moved = [name for name in weights[0] if name.startswith("model.attention") and "running" in name]
    assert len(moved) == 8
    for name in moved:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-4, atol=1e-7)
    made = [{path.name: path.read_bytes() for path in home.glob("features/*")} for home in homes]
    assert len(made[0]) == 2 and made[0] == made[1]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def test_scores_have_the_same_bytes(two_stage_workspace, tmp_path, typed, monkeypatch):
    words = ("evaluate", "-w", two_stage_workspace, "--device", "cpu", "--out")
    alone(typed, tmp_path, monkeypatch, *words, "one")
    wanted = files(tmp_path / "one")
    assert len(wanted) == 6  # of both tasks
    for processes in (2, 3):
        code, out, err = torchrun(processes, tmp_path, *words, f"of-{processes}")
        assert code == 0, err
        assert out.count(".json") == 2  # each said once
        assert files(tmp_path / f"of-{processes}") == wanted


def test_priors_have_the_same_bytes(tiny_workspace, tmp_path, typed, monkeypatch):
    words = ("predict-priors", "-w", tiny_workspace, "--device", "cpu", "--workers", 1, "--out")
    alone(typed, tmp_path, monkeypatch, *words, "one.h5")
    code, out, err = torchrun(3, tmp_path, *words, "three.h5")
    assert code == 0, err
    assert out.count("is ready") == 1
    assert (tmp_path / "three.h5").read_bytes() == (tmp_path / "one.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.h5", "three.h5"]


def test_an_error_in_one_process_is_one_line_of_the_main_one(tiny_workspace, tmp_path):
    beside(tiny_workspace, tmp_path)
    code, out, err = torchrun(2, tmp_path, "fail", *FROZEN, script=(SCRIPT,))
    assert code != 0 and not out
    assert [line for line in err.splitlines() if "amaged" in line or line.startswith("error")] == [
        "error: Clip 7 is damaged. Repair it."
    ]
    causes = err.partition("Root Cause")[2]  # torchrun's report names the first that ended
    assert re.search(r"rank +: 0 ", causes) and re.search(r"exitcode +: 2 ", causes)
    assert not list((tmp_path / "runs" / "avs").glob(".*.lock"))


@pytest.mark.parametrize("words", NO_SPREAD)
def test_other_commands_are_not_for_several_processes(words, typed, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    code, out, err = typed(*words.split())
    assert (code, out) == (2, "")
    assert "is not for several processes. Run it without torchrun" in err
    assert not list(tmp_path.iterdir())


def test_wrong_use_is_one_line_of_the_main_process(tmp_path):
    code, out, err = torchrun(2, tmp_path, "train-avs", "--epochs", "many")
    assert code != 0 and not out
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1
    assert "error: Invalid value for '--epochs'" in err
