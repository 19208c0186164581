"""Foreign files are read without running them, and every way of not fitting is named."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
import torch
from golden_parity import FOLDER, load_case
from safetensors.torch import save_file

from avsctl_models.weights import mask2former_hf, stepping_stones
from avsctl_models.weights.files import read_config, read_weights
from avsctl_models.weights.mapping import load_converted


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


STATE = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.zeros(1)}


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s}, lambda s: {"model": s, "epoch": 3}])
@pytest.mark.parametrize("ending", ["pth", "bin", "pt"])
def test_torch_files_are_read_in_their_usual_wrappers(tmp_path, wrap, ending):
    path = tmp_path / f"weights.{ending}"
    torch.save(wrap({f"module.{name}": tensor for name, tensor in STATE.items()}), path)
    state = read_weights(path)
    assert list(state) == list(STATE)
    assert torch.equal(state["a.weight"], STATE["a.weight"])


def test_folders_are_read_whole_or_in_shards(tmp_path):
    save_file(STATE, tmp_path / "model.safetensors")
    assert set(read_weights(tmp_path)) == set(STATE)
    (tmp_path / "model.safetensors").unlink()
    save_file({"b": STATE["b"]}, tmp_path / "model-1.safetensors")
    save_file({"a.weight": STATE["a.weight"]}, tmp_path / "model-2.safetensors")
    places = {"a.weight": "model-2.safetensors", "b": "model-1.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert set(read_weights(tmp_path)) == set(STATE)


def test_a_shard_outside_the_folder_is_refused(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../x.safetensors"}}')
    with pytest.raises(ValueError, match="outside its folder"):
        read_weights(tmp_path)


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path):
    path, trap = tmp_path / "weights.pth", tmp_path / "trap"
    torch.save({"a": STATE["b"], "x": Malicious(trap)}, path)
    with pytest.raises(ValueError, match="more than tensors"):
        read_weights(path)
    path.write_bytes(pickle.dumps(Malicious(trap)))
    with pytest.raises(ValueError, match=str(path)):
        read_weights(path)
    assert not trap.exists()


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_truncated_and_empty_files_are_refused_by_name(tmp_path, ending):
    path = tmp_path / f"weights.{ending}"
    save_file(STATE, path) if ending == "safetensors" else torch.save(STATE, path)
    whole = path.read_bytes()
    for content in (whole[:-40], whole[:10], b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=str(path)):
            read_weights(path)


def test_damage_anywhere_is_refused_by_name(tmp_path):
    path, random = tmp_path / "weights.pth", np.random.default_rng(0)
    for zipped in (True, False):
        torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(150):
            content = whole.copy()
            content[random.integers(0, min(len(whole), 900), 4)] = random.integers(0, 256, 4)
            path.write_bytes(content[: random.integers(len(whole) // 2, len(whole) + 1)].tobytes())
            try:
                read_weights(path)  # some damage hits what nothing reads
            except ValueError as error:
                assert str(path) in str(error)


def test_missing_files_and_broken_configs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no file"):
        read_weights(tmp_path / "nothing.pth")
    with pytest.raises(ValueError, match="neither model.safetensors"):
        read_weights(tmp_path)
    for content in ("{", "[" * 100_000):
        (tmp_path / "c.json").write_text(content)
        with pytest.raises(ValueError, match="not a readable JSON"):
            read_config(tmp_path / "c.json")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": ["b"]}}')
    with pytest.raises(ValueError, match="no weight_map"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("stage1_tiny", "stepping-stones-avs"),
        ("stage2_tiny", "stepping-stones-avss"),
        ("mask2former_tiny", "mask2former-hf"),
    ],
)
def test_the_source_of_weights_is_recognised(name, source):
    assert stepping_stones.detect(read_weights(FOLDER / f"{name}.safetensors")) == source


def test_other_weights_are_not_recognised():
    assert stepping_stones.detect(STATE) is None


def test_plain_mask2former_starts_a_stage_with_what_it_has():
    """The published training starts so: adapters, audio and prior parts keep their fresh values."""
    state = read_weights(FOLDER / "mask2former_tiny.safetensors")
    model = stepping_stones.build(load_case("stage2_tiny").config, task="avss")
    converted, report = mask2former_hf.convert(state, model)
    assert all("adapter" in m or m.startswith(("audio_projection", "prior_keys")) for m in report.missing)
    assert {line.split(":")[0] for line in report.mismatched} == {
        "queries.features",
        "queries.positions",
        "decoder.class_head.weight",
        "decoder.class_head.bias",
    }
    with pytest.raises(ValueError, match="plain.safetensors does not fit"):
        load_converted(model, converted, report, source="plain.safetensors")
    load_converted(model, converted, report, source="plain.safetensors", partial=True)
    name = "pixel_decoder.layers.1.attention.output.projection.weight"
    assert torch.equal(model.state_dict()[name], converted[name])


def test_a_missing_tensor_is_named_on_both_sides():
    state = read_weights(FOLDER / "stage2_tiny.safetensors")
    gone = "model.model.pixel_level_module.encoder.hidden_states_norms.stage3.bias"
    del state[gone]
    report = stepping_stones.convert(state, load_case("stage2_tiny").model)[1]
    assert report.missing == [f"backbone.norms.2.bias (from {gone.removeprefix('model.')})"]


def test_configs_that_ask_for_another_model_are_refused():
    config = load_case("mask2former_tiny").config
    for change, message in (
        ({"mask2former": {**config["mask2former"], "pre_norm": True}}, "pre_norm"),
        ({"backbone": {**config["backbone"], "use_absolute_embeddings": True}}, "use_absolute_embeddings"),
        ({"backbone": {"model_type": "resnet"}}, "no Swin backbone"),
    ):
        with pytest.raises(ValueError, match=message):
            mask2former_hf.settings_from_config({**config, **change})
