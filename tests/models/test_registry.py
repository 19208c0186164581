"""Models are made by name and come back from a file bit by bit."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file, save_file

from avsctl_models import create_from_spec, create_model, list_models, list_presets, load_model, save_model
from avsctl_models.presets import split_name
from avsctl_models.registry import read_metadata
from avsctl_models.unfilled import build_unfilled


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


def test_a_loaded_model_keeps_nothing_of_its_file_but_the_values(model, saved):
    again = load_model(saved)
    with saved.open("r+b") as file:  # in its place, behind the back of whatever still reads it
        file.write(b"\x3f" * saved.stat().st_size)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_a_file_in_half_precision_makes_a_model_in_full(model, saved):
    state, header = load_file(saved), read_metadata(saved)
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    save_file(halved, saved, metadata=header)
    again = load_model(saved)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], halved[name].to(tensor.dtype)), name
        assert again.state_dict()[name].dtype == tensor.dtype
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in again.named_parameters() if parameter.requires_grad} == trained


@pytest.mark.parametrize("name", list_models())
def test_what_a_file_does_not_hold_is_built(name):
    torch.manual_seed(0)
    built = create_model(name, preset="tiny", task="avss", num_classes=3, audio_dim=16)
    waiting = build_unfilled(lambda: create_from_spec(built.spec), 0, "here")
    assert all(parameter.is_meta for parameter in waiting.parameters())
    held = built.state_dict()
    for key, buffer in waiting.named_buffers():
        assert not buffer.is_meta
        assert key in held or torch.equal(buffer, built.get_buffer(key)), key
    waiting.load_state_dict(held, assign=True)
    assert not any(tensor.is_meta for tensor in (*waiting.parameters(), *waiting.buffers()))


def test_other_threads_build_whole_models_meanwhile():
    def build():
        with ThreadPoolExecutor(1) as pool:
            beside.append(pool.submit(torch.nn.Linear, 2, 2).result())
        return torch.nn.Linear(2, 2)

    beside: list[torch.nn.Module] = []
    assert build_unfilled(build, 6, "here").weight.is_meta
    assert not any(layer.weight.is_meta for layer in (*beside, torch.nn.Linear(2, 2)))


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
