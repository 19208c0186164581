"""Released checkpoints of TPAVI and AVSegFormer as one types them: converted, as a start, and drawn unconverted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from avsctl.stages.visualize_clips import visualize_clips
from avsctl.workspace import Workspace
from avsctl_models import load_model

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "baselines"

PVT = {
    "embed_dims": [16, 32, 40, 64],
    "depths": [1, 1, 2, 1],
    "num_heads": [1, 2, 5, 8],
    "mlp_ratios": [4, 4, 4, 4],
    "sr_ratios": [8, 4, 2, 1],
}


@pytest.fixture
def avsctl(typed, monkeypatch, tmp_path):
    """Run a command in an empty folder; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return typed


def released(source: str, task: str) -> Path:
    """Write a small released checkpoint, with tensors that its model never uses, into the working folder."""
    recorded = load_file(GOLDEN / f"{source}_tiny_pvt_{task}.safetensors")
    state = {name[2:]: tensor for name, tensor in recorded.items() if name.startswith("w.")}
    if source == "avsegformer":
        state |= {"vggish.features.0.bias": torch.zeros(64), "head.fpn.up1.1.bias": torch.zeros(32)}
    torch.save(state, "released.pth")
    return Path("released.pth")


@pytest.mark.parametrize(("source", "dead", "vggish"), [("avsbench", 4, 0), ("avsegformer", 1, 1)])
def test_a_released_checkpoint_is_converted_and_every_tensor_told(avsctl, source, dead, vggish):
    file = released(source, "avss")
    code, out, err = avsctl("import-weights", file, "--from", source, "--out", "own.safetensors", "--json")
    assert code == 0, err
    content = json.loads(out)
    counts = content["counts"]
    assert (counts["dead"], counts["vggish"], counts["unused"], counts["missing"]) == (dead, vggish, 0, 0)
    assert content["model"]["task"] == "avss" and not content["model"]["uses_prior"]
    assert load_model("own.safetensors").num_classes == 5

    code, out, _ = avsctl("import-weights", file, "--out", "again.safetensors")
    assert code == 0 and f"dead {dead} (" in out and ("vggish 1 (" in out) == bool(vggish)
    code, out, err = avsctl("import-weights", file, "--from", "vggish", "--out", "third.safetensors")
    assert code == 2 and len(err.strip().splitlines()) == 1 and not Path("third.safetensors").exists()


def test_settings_that_shapes_do_not_tell_come_from_a_config(avsctl):
    Path("sizes.json").write_text(json.dumps({"attention": "both"}))
    words = ("import-weights", released("avsbench", "s4"), "--config", "sizes.json", "--out", "own.safetensors")
    assert avsctl(*words)[0] == 0
    assert load_model("own.safetensors").kind == "both"
    Path("sizes.json").write_text(json.dumps({"atention": "both"}))
    code, _, err = avsctl(*words, "--overwrite")
    assert code == 2 and "tpavi has no setting 'atention'" in err and len(err.strip().splitlines()) == 1


def test_a_start_of_which_nothing_fits_is_refused_in_one_line(avsctl, tiny_workspace):
    file = released("avsegformer", "s4")  # narrower than the tiny preset, and with a PVT
    for name in ("clips.h5", "audio.h5"):
        Path(name).symlink_to(tiny_workspace / name)
    words = ("--model", "avsegformer-tiny", "--image-size", 64, "--epochs", 1, "--max-steps", 1, "--subset", "ms3")
    code, _, err = avsctl("train-avs", *words, "--device", "cpu", "--init-from", file)
    assert code == 2 and "released.pth does not fit the model" in err and "Traceback" not in err
    assert not list(Path().rglob("model.safetensors"))


@pytest.mark.parametrize("source", ["avsbench", "avsegformer"])
def test_clips_are_drawn_with_a_released_checkpoint_as_it_is(avsctl, tiny_workspace, tmp_path, source):
    file = released(source, "s4")
    for name in ("clips.h5", "audio.h5"):
        Path(name).symlink_to(tiny_workspace / name)
    Path("released.json").write_text(json.dumps({"image_size": 64, "backbone_options": PVT}))
    result = visualize_clips(Workspace(tmp_path), "test", count=1, avs=str(file), device="cpu", out=tmp_path / "out")
    assert result.files and all(path.stat().st_size for path in result.files)
