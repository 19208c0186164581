"""`avsctl predict-priors` as one types it."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avsctl.caches.priors import PriorCache


@pytest.fixture
def avsctl(typed, monkeypatch, tiny_workspace, workspace_copy):
    """Run predict-priors in a copy of the tiny workspace; gives exit code, stdout and stderr."""
    monkeypatch.delenv("AVSCTL_WORKSPACE", raising=False)
    monkeypatch.chdir(workspace_copy(tiny_workspace))
    return partial(typed, "predict-priors", "--device", "cpu")


def refused(result, *words):
    code, out, err = result
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert err.startswith("error: ")
    for word in words:
        assert word in err
    assert not Path("priors").exists() or not list(Path("priors").iterdir())


def test_without_options_it_predicts_every_clip_and_says_which_run_did(avsctl):
    code, out, err = avsctl()
    assert code == 0, err
    for subset in ("s4", "ms3", "v2"):
        assert f"{subset}: runs/avs/aavs-tiny-all-none-s3407" in out
    cache = PriorCache(Path("priors/predicted.h5"))
    assert f"{cache.accuracy['ms3/test']:.4f}" in out
    assert "priors/predicted.h5 is ready. Next: avsctl train-avss" in out
    again = avsctl()
    assert again[0] == 0
    assert "is up to date" in again[2]


def test_json_is_all_there_is_on_stdout(avsctl):
    code, out, _ = avsctl("--json", "--subset", "ms3", "--split", "test")
    result = json.loads(out)
    assert code == 0
    assert set(result["accuracy"]) == {"ms3/test", "all/test"}
    assert result["runs"] == {"ms3": "runs/avs/aavs-tiny-all-none-s3407"}


@pytest.mark.parametrize(
    ("words", "name", "miou"),
    [
        (("--level", "low"), "low", 0.55),
        (("--level", "high"), "high", 0.75),
        (("--level", "low", "--miou", 0.4), "low", 0.4),
        (("--miou", 0.65), "miou-0.65", 0.65),
    ],
)
def test_levels_and_any_accuracy_are_simulated(avsctl, words, name, miou):
    code, out, err = avsctl(*words, "--subset", "ms3", "--size", 64, "--workers", 0, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["origin"] == name
    assert result["prior"] == f"priors/{name}.h5"
    assert all(value == pytest.approx(miou, abs=0.01) for value in result["accuracy"].values())


def test_masks_go_out_and_come_in(avsctl):
    code, out, err = avsctl("--subset", "v2", "--split", "val", "--export-png", "png")
    assert code == 0, err
    files = sorted(Path("png").glob("v2/*/*.png"))
    assert len(files) == 20
    assert set(np.unique(np.asarray(Image.open(files[0])))) <= {0, 255}
    code, out, err = avsctl("--from-masks", "png", "--subset", "v2", "--split", "val", "--workers", 0)
    assert code == 0, err
    first, second = (PriorCache(Path(f"priors/{name}.h5")).accuracy for name in ("predicted", "masks"))
    assert first == pytest.approx(second)


def test_an_own_file_can_be_chosen(avsctl):
    code, _, err = avsctl("--level", "high", "--subset", "s4", "--size", 32, "--workers", 0, "--out", "elsewhere/p.h5")
    assert code == 0, err
    assert PriorCache(Path("elsewhere/p.h5")).origin == "high"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--level", "low", "--from-masks", "x"), ("exclude each other",)),
        (("--run", "a", "--miou", "0.5"), ("exclude each other",)),
        (("--run", "nix"), ("No avs run named nix", "aavs-tiny-all-none-s3407")),
        (("--subset", "nix"), ("no clip of subset nix",)),
        (("--from-masks", "nowhere"), ("No folder of masks at nowhere",)),
        (("--from-masks", "runs"), ("has no masks",)),
        (("--export-png", "runs"), ("runs holds something",)),
        (("--out", "clips.h5", "--overwrite"), ("clips.h5 is a cache",)),
        (("--out", "p.png"), ("must end in .h5",)),
    ],
)
def test_wrong_use_is_one_line_and_leaves_nothing(avsctl, words, said):
    refused(avsctl(*words), *said)


def test_a_missing_step_is_named(avsctl):
    shutil.rmtree("runs")
    refused(avsctl(), "avsctl train-avs --subset all")
    Path("audio.h5").unlink()
    Path("clips.h5").unlink()
    refused(avsctl(), "avsctl prepare")


@pytest.mark.parametrize("miou", ["0", "1", "1.5", "much"])
def test_accuracies_out_of_range_are_wrong_use(avsctl, miou):
    code, out, err = avsctl("--miou", miou)
    assert (code, out) == (2, "")
    assert "--miou" in err


def test_another_plan_needs_overwrite(avsctl):
    options = ("--level", "low", "--subset", "s4", "--size", 32, "--workers", 0)
    assert avsctl(*options)[0] == 0
    code, _, err = avsctl(*options, "--seed", 1)
    assert code == 2
    assert "another seed" in err and "--overwrite" in err
    assert avsctl(*options, "--seed", 1, "--overwrite")[0] == 0
