"""`avsctl experiment` as one types it, at 64 pixels and one step."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from avsctl.cli import cli
from avsctl.cli._console import run_guarded
from avsctl.cli.experiment import EXPERIMENTS
from avsctl.stages import experiment_tables
from avsctl.stages.simulate_priors import simulate_priors
from avsctl.stopping import Stopped
from avsctl.training.loop import Trainer

TINY = shlex.split(
    "--image-size 64 --epochs 1 --max-steps 1 --batch-clips 2 --frames-per-clip 1 --device cpu --seeds 1"
)


def call(workspace: Path, *words: str) -> int:
    """Run a command on a workspace; gives its exit code."""
    terminate, typed = signal.getsignal(signal.SIGTERM), sys.argv
    sys.argv = ["avsctl", *map(str, words), "--workspace", str(workspace)]
    try:
        return run_guarded(cli)
    finally:
        sys.argv = typed
        signal.signal(signal.SIGTERM, terminate)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def done(tiny_workspace, tmp_path_factory) -> Path:
    """A workspace in which table 2 has run for one model and one seed. Read only."""
    root = tmp_path_factory.mktemp("experiment") / "workspace"
    shutil.copytree(tiny_workspace, root, ignore=shutil.ignore_patterns("AVSBench-synthetic", "reports"))
    torch.set_num_threads(1)
    for miou in (0.55, 0.75):  # in this process: starting others takes longer than the work
        prior = root / "priors" / f"miou-{miou}-test.h5"
        simulate_priors(root / "clips.h5", prior, miou, origin=f"miou-{miou}", split="test", workers=1)
    assert call(root, "experiment", "table2", "--models", "aavs", *TINY) == 0
    return root


@pytest.fixture
def copy(done, workspace_copy) -> Path:
    return workspace_copy(done)


def cells(capfd, workspace, *words) -> list[dict]:
    capfd.readouterr()
    assert call(workspace, "experiment", *words, "--dry-run", "--json") == 0
    return json.loads(capfd.readouterr().out)["cells"]


def test_the_table_holds_what_the_reports_say(done):
    folder = done / "experiments" / "table2"
    content = json.loads((folder / "table2.json").read_text())
    assert content["failed"] == {} and len(content["entries"]) == 4
    for entry in content["entries"]:
        [report] = [json.loads(Path(path).read_text()) for path in entry["reports"]]
        for title, name in (("mIoU", "miou"), ("F", "f_score")):
            assert entry["scores"][title] == {
                "mean": report["scores"]["all"][name],
                "std": None,
                "values": [report["scores"]["all"][name]],
            }
    by_column = {entry["column"]: entry for entry in content["entries"]}
    assert by_column["alone"]["prior_miou"] is None and by_column["oracle"]["prior_miou"] > 0.999
    assert len({by_column[column]["runs"][0] for column in ("low", "high", "oracle")}) == 1  # one training
    text = (folder / "table2.md").read_text()
    assert "| *the paper* | 37.1 / 41.7 | – | – | 64.9 / 67.0 |" in text
    assert "avsctl experiment table2" in text and "on AVSBench with pretrained weights" in text
    with Image.open(folder / "table2.png") as picture:
        assert picture.format == "PNG" and np.asarray(picture).std() > 10


def test_a_second_call_runs_nothing(copy, capfd):
    before = {path: path.stat().st_mtime_ns for path in (copy / "runs").rglob("*") if path.is_file()}
    capfd.readouterr()
    assert call(copy, "experiment", "table2", "--models", "aavs", *TINY) == 0
    err = capfd.readouterr().err
    assert err.count("is there") == 8 and "done in" not in err
    assert before == {path: path.stat().st_mtime_ns for path in (copy / "runs").rglob("*") if path.is_file()}


def test_dry_run_gives_ordinary_commands_which_make_the_cells(copy, capfd):
    found = cells(capfd, copy, "prior-curve", *TINY)
    kinds = [shlex.split(cell["command"])[1] for cell in found]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"train-avss": 2, "predict-priors": 6, "evaluate": 8}
    typed = {word for word in TINY if word.startswith("--")} - {"--seeds"}
    usual = {"--model", "--preset", "--subset", "--seed", "--prior", "--resume", "--workspace"}
    for cell in found:
        if cell["name"].startswith("train-avss"):
            assert {word for word in shlex.split(cell["command"]) if word.startswith("--")} == typed | usual
    there = [cell["name"] for cell in found if cell["state"] == "there"]
    assert len(there) == 4  # what table 2 made: two runs, two of the reports
    prior = next(cell for cell in found if cell["name"] == "prior.miou-0.4-test")
    assert prior["state"] == "missing"
    words = shlex.split(prior["command"])
    assert call(copy, *words[1:-2]) == 0 and words[-2:] == ["--workspace", str(copy)]
    [again] = [cell for cell in cells(capfd, copy, "prior-curve", *TINY) if cell["name"] == "prior.miou-0.4-test"]
    assert again["state"] == "there"


def test_results_of_other_weights_are_out_of_date(copy, capfd):
    run = copy / "runs" / "avss" / "aavs-tiny-all-oracle-s3407"
    shutil.copy(copy / "runs" / "avss" / "aavs-tiny-all-none-s3407" / "model.safetensors", run / "model.safetensors")
    states = {cell["name"]: cell["state"] for cell in cells(capfd, copy, "table2", "--models", "aavs", *TINY)}
    assert states["evaluate.avss.aavs-tiny-all-oracle-s3407.oracle.all.original"] == "out of date"
    assert states["evaluate.avss.aavs-tiny-all-none-s3407.none.all.original"] == "there"


def test_a_run_with_other_options_is_left_alone_and_gets_a_neighbour(copy, capfd):
    options = [word if word != "64" else "32" for word in TINY]
    names = [cell["name"] for cell in cells(capfd, copy, "table2", "--models", "aavs", *options)]
    trained = [name for name in names if name.startswith("train-avss.")]
    assert len(trained) == 2 and all(name.rpartition("-")[0].endswith("-s3407") for name in trained)


def test_a_stopped_training_goes_on_where_it_was(copy, capfd, monkeypatch):
    shutil.rmtree(copy / "runs" / "avss")
    options = [*TINY, "--epochs", "2"]
    finish, calls = Trainer._finish_epoch, []

    def stop_in_the_second_epoch(self):
        calls.append(self.position.epoch)
        if self.position.epoch == 1:
            raise Stopped(signal.SIGINT)
        finish(self)

    monkeypatch.setattr(Trainer, "_finish_epoch", stop_in_the_second_epoch)
    assert call(copy, "experiment", "table2", "--models", "aavs", *options) == 130
    [half] = [cell for cell in cells(capfd, copy, "table2", "--models", "aavs", *options) if "epoch" in cell["state"]]
    assert half["state"] == "epoch 1 of 2" and "--resume" in half["command"]

    def count(self):
        calls.append(self.position.epoch)
        finish(self)

    calls.clear()
    monkeypatch.setattr(Trainer, "_finish_epoch", count)
    assert call(copy, "experiment", "table2", "--models", "aavs", *options) == 0
    assert calls == [1, 0, 1]  # the rest of the first run, then the whole second


def test_a_failed_cell_is_named_and_the_others_are_kept(copy, capfd):
    blocked = copy / "runs" / "avss" / "aavs-tiny-all-oracle-s3407"
    shutil.rmtree(blocked)
    blocked.write_text("a file where the run's folder should be")
    capfd.readouterr()
    assert call(copy, "experiment", "table2", "--models", "aavs", *TINY) == 1
    err = capfd.readouterr().err
    [line] = [line for line in err.splitlines() if line.startswith("failed: train-avss")]
    assert "aavs-tiny-all-oracle-s3407" in line and "Traceback" not in err
    content = json.loads((copy / "experiments" / "table2" / "table2.json").read_text())
    scored = {entry["column"]: entry["scores"] is not None for entry in content["entries"]}
    assert scored == {"alone": True, "low": False, "high": False, "oracle": False}
    assert len(content["failed"]) == 4  # the training and its three evaluations; the priors were made

    blocked.unlink()
    assert call(copy, "experiment", "table2", "--models", "aavs", *TINY) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["table2", "--models", "nonesuch"], "nonesuch"),
        (["table2", "--models", "aavs-huge"], "no preset 'huge'"),
        (["table2", "--models", ","], "--models names none"),
        (["table9"], "table9"),
    ],
)
def test_bad_input_is_one_line(done, capfd, words, said):
    capfd.readouterr()
    assert call(done, "experiment", *words, *TINY) == 2
    [line] = capfd.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and said in line


def without(path: Path, column: str, value: bytes) -> None:
    """Give the clips of a subset or split another one."""
    with h5py.File(path, "r+") as file:
        values = file[f"clips/{column}"][:]
        file[f"clips/{column}"][:] = np.where(values == value, values[values != value][0], values)


def test_in_an_empty_workspace_the_first_thing_to_make_is_named(tmp_path, capfd):
    assert call(tmp_path, "experiment", "table2", "--dry-run") == 2
    assert "Run 'avsctl prepare avsbench' first" in capfd.readouterr().err


def test_a_dataset_without_the_subset_is_refused(copy, capfd):
    without(copy / "clips.h5", "subset", b"ms3")
    capfd.readouterr()
    assert call(copy, "experiment", "table1", *TINY) == 2
    assert "table1 needs clips of subset ms3, split train" in capfd.readouterr().err


def test_binary_labels_are_refused(copy, capfd):
    with h5py.File(copy / "clips.h5", "r+") as file:
        file.attrs["label_kind"] = "binary"
    capfd.readouterr()
    assert call(copy, "experiment", "table2", "--models", "aavs", *TINY) == 2
    assert "labels that name classes" in capfd.readouterr().err


@pytest.mark.parametrize("name", experiment_tables.PARTS_OF_AAVS)
@pytest.mark.parametrize(("models", "said"), [("tpavi", "tpavi can't do {}"), ("aavs,aavs-tiny", "{} switches parts")])
def test_a_model_without_the_parts_is_refused(name, models, said, done, capfd):
    capfd.readouterr()
    assert call(done, "experiment", name, "--models", models, *TINY) == 2
    assert said.format(name) in capfd.readouterr().err


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_every_experiment_compares_what_it_has(name, done, capfd):
    assert list(EXPERIMENTS) == list(experiment_tables.EXPERIMENTS)
    found = cells(capfd, done, name, *TINY)
    names = [cell["name"] for cell in found]
    assert len(names) == len(set(names))
    for cell in found:
        assert cell["command"].startswith("avsctl ")
