"""Foreign weights become models in one call, and wrong guesses about them are refused."""

from __future__ import annotations

import pytest
import torch
from golden_parity import CASES, FOLDER, load_case
from safetensors.torch import save_file

from avsctl_models import create_from_spec, load_model, save_model
from avsctl_models.weights.files import read_config, read_weights
from avsctl_models.weights.importing import import_model, initialise


@pytest.mark.parametrize("name", CASES)
def test_a_foreign_file_becomes_a_model_that_survives_saving(name, tmp_path):
    model, report = import_model(FOLDER / f"{name}.safetensors", config=read_config(FOLDER / f"{name}.json"))
    assert report.complete
    again = load_model(save_model(model, tmp_path / "model.safetensors"))
    wanted = load_case(name)
    prior = wanted.io["prior"] if again.uses_prior else None
    with torch.no_grad():
        output = again(wanted.io["pixel_values"], wanted.io.get("audio_feat"), prior)
    assert torch.equal(output.mask_logits, wanted.output.mask_logits)


def test_the_wrong_stage_is_refused_though_names_and_shapes_would_fit():
    with pytest.raises(ValueError, match="is not from stepping-stones-avs: .* stepping-stones-avss"):
        import_model(FOLDER / "stage2_tiny.safetensors", source="stepping-stones-avs")


def test_sizes_that_do_not_fit_the_config_are_named():
    config = read_config(FOLDER / "stage2_tiny.json")
    config["mask2former"]["encoder_layers"] = 3
    with pytest.raises(ValueError, match=r"pixel_decoder.layers.2.attention.offsets.weight .* is missing"):
        import_model(FOLDER / "stage2_tiny.safetensors", config=config)


def test_weights_of_another_kind_are_refused_by_their_first_names(tmp_path):
    save_file({"features.0.weight": torch.zeros(2)}, tmp_path / "vggish.safetensors")
    with pytest.raises(ValueError, match="none of the known models .* first tensors are features.0.weight"):
        import_model(tmp_path / "vggish.safetensors")


def test_training_starts_from_plain_mask2former_with_all_it_has():
    model = create_from_spec(load_case("stage1_tiny").model.spec)
    fresh = model.state_dict()["queries.features"].clone()
    report = initialise(model, FOLDER / "mask2former_tiny.safetensors")
    source = read_weights(FOLDER / "mask2former_tiny.safetensors")
    assert torch.equal(
        model.state_dict()["decoder.norm.weight"], source["model.transformer_module.decoder.layernorm.weight"]
    )
    assert all(".adapter." in line or line.startswith("audio_projection") for line in report.missing)
    assert {line.split(":")[0] for line in report.mismatched} == {
        "decoder.class_head.weight",
        "decoder.class_head.bias",
    }
    assert not torch.equal(model.state_dict()["queries.features"], fresh)  # 8 queries in both of these


def test_training_starts_from_a_model_of_our_own(tmp_path):
    stage1 = load_case("stage1_tiny").model
    path = save_model(stage1, tmp_path / "stage1.safetensors")
    stage2 = create_from_spec(load_case("stage2_tiny").model.spec)
    report = initialise(stage2, path)
    assert any(line.startswith("prior_keys") for line in report.missing)
    assert torch.equal(stage2.backbone.norms[0].weight, stage1.backbone.norms[0].weight)
    assert not report.unused
