"""Models are made by name and come back from a file bit by bit."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from avsctl_models import create_from_spec, create_model, list_models, list_presets, load_model, save_model
from avsctl_models.presets import split_name
from avsctl_models.registry import read_metadata


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model(
        "aavs", preset="tiny", task="avss", num_classes=5, audio_dim=16, hidden_dim=32, queries=4
    ).eval()


@pytest.fixture
def saved(model, tmp_path):
    return save_model(model, tmp_path / "model.safetensors", {"note": "kept"})


def test_names_are_listed():
    assert "aavs" in list_models()
    assert list_presets("aavs") == ["swin-b-384", "tiny"]


def test_a_name_may_carry_its_preset():
    assert split_name("aavs") == ("aavs", None)
    assert split_name("aavs", "tiny") == split_name("aavs-tiny") == split_name("aavs-tiny", "tiny") == ("aavs", "tiny")
    assert split_name("aavs-swin-b-384") == ("aavs", "swin-b-384")
    for arguments, message in (
        (("aavz-tiny",), "no model named 'aavz-tiny'; there are: aavs"),
        (("aavs-huge",), "aavs has no preset 'huge'; there are: swin-b-384"),
        (("aavs", "huge"), "aavs has no preset 'huge'"),
        (("aavs-tiny", "swin-b-384"), "aavs-tiny is in the preset tiny already, not in swin-b-384"),
    ):
        with pytest.raises(ValueError, match=message):
            split_name(*arguments)


def test_listing_presets_does_not_load_torch():
    code = "import sys, avsctl_models.presets as p; p.list_presets(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_saved_model_comes_back_bit_by_bit(model, saved):
    again = load_model(saved)
    assert again.spec == model.spec
    assert not again.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    batch = torch.randn(1, 3, 64, 64), torch.randn(1, 16), torch.rand(1, 9, 9)
    with torch.no_grad():
        assert torch.equal(model(*batch).mask_logits, again(*batch).mask_logits)


def test_saving_leaves_metadata_and_no_partial_file(saved):
    assert read_metadata(saved)["note"] == "kept"
    assert [path.name for path in saved.parent.iterdir()] == ["model.safetensors"]


def test_the_spec_survives_json_and_builds_the_same_model(model):
    again = create_from_spec(json.loads(json.dumps(model.spec)))
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in again.state_dict().items()} == shapes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"name": "aavz"}, "no model named 'aavz'; there are: aavs"),
        ({"preset": "huge"}, "no preset 'huge'; there are: swin-b-384, tiny"),
        ({"task": "vos"}, "task must be one of avs, avss"),
        ({"quieries": 3}, "no setting 'quieries'"),
        ({"pixel_decoder": "unet"}, "pixel_decoder must be deformable or fpn"),
        ({"adapters": "beside"}, "adapters must be one of none, replace, follow"),
        ({"query": "random"}, "query must be one of adaptive, repeated"),
        ({"heads": 5}, "5 heads do not divide 64"),
    ],
)
def test_names_and_settings_that_do_not_exist_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        create_model(**{"name": "aavs", "preset": "tiny", **call})


def test_a_truncated_file_is_refused(saved):
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(ValueError, match="truncated or not a safetensors file"):
        load_model(saved)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="holds none of the known models .* first tensors are a"):
        load_model(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="no file"):
        load_model(tmp_path / "missing.safetensors")


def test_tensors_that_do_not_fit_are_named(saved):
    state, header = load_file(saved), read_metadata(saved)
    state["queries.features"] = torch.zeros(9, 9)
    state["stranger"] = state.pop("queries.positions")
    save_file(state, saved, metadata=header)
    with pytest.raises(ValueError, match="queries.positions is missing.*stranger.*features is .9, 9."):
        load_model(saved)
