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


@pytest.mark.parametrize("converted", [False, True])
def test_adapters_are_only_taken_from_the_place_they_were_trained_in(tmp_path, converted):
    stage1 = FOLDER / "stage1_tiny.safetensors"
    path = save_model(load_case("stage1_tiny").model, tmp_path / "own.safetensors") if converted else stage1
    stage2 = create_from_spec(load_case("stage2_tiny").model.spec)
    fresh = {name: tensor.clone() for name, tensor in stage2.state_dict().items()}
    report = initialise(stage2, path)
    trained, now = load_case("stage1_tiny").model.state_dict(), stage2.state_dict()
    moved = [name for name in now if ".adapter." in name and not name.startswith("backbone.")]
    assert len(moved) == 4 * (2 + 4)  # instead of the projections there, after them here
    assert all(torch.equal(now[name], fresh[name]) for name in moved)
    assert all(any(line.startswith(f"{name} ") for line in report.missing) for name in moved)
    residual = [name for name in now if ".adapter." in name and name.startswith("backbone.")]
    assert residual and all(torch.equal(now[name], trained[name]) for name in residual)


def test_sizes_can_be_given_or_lie_beside_the_file(tmp_path):
    wanted = load_case("stage2_tiny").model.state_dict()["queries.features"]
    path, sizes = tmp_path / "w.safetensors", FOLDER / "stage2_tiny.json"
    path.write_bytes((FOLDER / "stage2_tiny.safetensors").read_bytes())
    for config in (sizes, str(sizes), read_config(sizes)):
        assert torch.equal(load_model(path, config=config).state_dict()["queries.features"], wanted)
    (tmp_path / "config.json").write_text(sizes.read_text())
    assert torch.equal(load_model(path).state_dict()["queries.features"], wanted)
    own = save_model(load_case("stage2_tiny").model, tmp_path / "own.safetensors")
    with pytest.raises(ValueError, match="knows its own sizes"):
        load_model(own, config=sizes)


def test_what_a_smaller_model_leaves_of_a_file_is_said(caplog):
    config = read_config(FOLDER / "stage2_tiny.json")
    config["mask2former"]["decoder_layers"] = 4
    with caplog.at_level("WARNING", logger="avsctl_models"):
        report = import_model(FOLDER / "stage2_tiny.safetensors", config=config)[1]
    assert len(report.unused) > 20 and "tensors are not part of the model and not used" in caplog.text
    caplog.clear()
    import_model(FOLDER / "stage1_tiny.safetensors")
    assert not caplog.records
