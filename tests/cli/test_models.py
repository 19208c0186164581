"""Every model goes through the whole chain of commands."""

from __future__ import annotations

import json
import shutil

import pytest

HERE = ("--subset", "ms3", "--device", "cpu")
BRIEF = (*HERE, "--image-size", 64, "--epochs", 1, "--max-steps", 1, "--batch-clips", 2)


@pytest.fixture
def avsctl(typed, monkeypatch, tiny_workspace, tmp_path):
    """Run a command on the tiny workspace's caches, without its runs; gives stdout of what must succeed."""
    for name in ("clips.h5", "audio.h5"):
        shutil.copyfile(tiny_workspace / name, tmp_path / name)
    monkeypatch.setenv("AVSCTL_WORKSPACE", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(*words, code=0):
        found, out, err = typed(*words)
        assert found == code, err
        return err if code else out

    return run


@pytest.mark.parametrize("model", ["tpavi-tiny", "avsegformer-tiny"])
def test_a_model_goes_through_every_command(avsctl, tmp_path, model):
    assert f"runs/avs/{model}-ms3-none-s3407" in avsctl("train-avs", "--model", model, *BRIEF)
    avsctl("predict-priors", "--split", "test", *HERE)
    run = f"{model}-ms3-oracle-s3407"
    assert f"runs/avss/{run}" in avsctl("train-avss", "--model", model, "--prior", "oracle", *BRIEF)
    record = json.loads((tmp_path / f"runs/avss/{run}/record.json").read_text())
    assert record["model"]["settings"]["prior_fusion"] and record["complete"]
    assert record["model"]["settings"]["audio_relu"] is False  # logmel's signs mean something, VGGish's are cut off
    assert "predicted" in avsctl("evaluate", "--run", run, "--prior", "predicted", *HERE)
    runs = json.loads(avsctl("status", "--json"))["runs"]
    assert all(entry["complete"] for entry in runs)
    assert [entry["name"] for entry in runs] == [f"{model}-ms3-none-s3407", run]


def test_what_a_model_has_no_use_for_is_one_line(avsctl):
    error = avsctl("train-avss", "--model", "tpavi-tiny", "--without", "robust-keys", *BRIEF, code=2)
    assert error == "error: tpavi has nothing for --without robust-keys to change. Leave it out.\n"
    error = avsctl("train-avs", "--model", "tpavi-tiny", "--preset", "pvt", *BRIEF, code=2)
    assert error.startswith("error: The model tpavi-tiny is in the preset tiny already, not in pvt.")
    assert len(error.splitlines()) == 1
