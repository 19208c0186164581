"""The twelve released checkpoints of TPAVI and AVSegFormer become models; every tensor is accounted for."""

from __future__ import annotations

import pytest
import torch
from baseline_parity import FOLDER, MODULES, golden, key_tables, weights_of
from safetensors.torch import save_file

from avsctl_models import create_model, load_model, save_model
from avsctl_models.audio.vggish import load_vggish
from avsctl_models.weights.importing import import_model, initialise, read_foreign

TABLES = sorted(name for name in key_tables() if "_ms3_" not in name)  # those of MS3 are S4's, see the first test


def test_checkpoints_of_ms3_have_the_names_and_shapes_of_s4():
    tables = key_tables()
    pairs = [(name, name.replace("_ms3_", "_s4_")) for name in tables if "_ms3_" in name]
    assert len(pairs) == 4 and all(tables[ms3] == tables[s4] for ms3, s4 in pairs)


@pytest.mark.parametrize("table", TABLES)
def test_every_tensor_of_a_released_checkpoint_is_accounted_for(table):
    name = "tpavi" if table.startswith("avsbench") else "avsegformer"
    with torch.device("meta"):  # only names and shapes matter
        state = {key: torch.empty(shape) for key, shape in key_tables()[table].items()}
        model = MODULES[name].build(MODULES[name].sizes(state))
    converted, report = MODULES[name].convert(state, model)
    assert report.complete and sorted(report.matched) == sorted(model.state_dict()) == sorted(converted)
    assert not report.unused and not report.ignored
    assert len(report.sound) == (18 if name == "avsegformer" else 0)
    lost = {"layer3_2.", "layer4_2."} if "es50" in table or "ResNet" in table else set()
    lost |= {"head.fpn.", "head.attn_fc."} if name == "avsegformer" else {"path4.resConfUnit1."}
    assert all(any(part in key for key in report.dead) for part in lost)
    assert all(any(part in key for part in lost) for key in report.dead)

    spec, published = model.spec, _published_settings(name, table)
    assert spec["task"] == ("avss" if "avss" in table else "avs")
    assert spec["num_classes"] == (71 if "avss" in table else 2)
    assert {**spec["settings"], "prior_fusion": published["prior_fusion"]} == published


def _published_settings(name, table):
    preset = "r50" if "es50" in table or "ResNet" in table else "pvt"
    with torch.device("meta"):
        return create_model(name, preset=preset, task="avss" if "avss" in table else "avs").spec["settings"]


@pytest.fixture(params=["tpavi", "avsegformer"])
def released(request, tmp_path):
    """A small released checkpoint of AVSS as a file, its source, and its recorded tensors."""
    source = "avsbench" if request.param == "tpavi" else "avsegformer"
    tensors = golden(f"{source}_tiny_pvt_avss")
    path = tmp_path / "released.pth"
    torch.save({f"module.{name}": tensor for name, tensor in weights_of(tensors).items()}, path)
    return path, source, tensors


def run(model, tensors):
    audio = tensors["audio" if "audio" in tensors else "audio_vggish"]
    with torch.no_grad():
        return model(tensors["imgs"][:5], audio[:5])


def test_a_released_checkpoint_loads_unconverted_and_survives_saving(released, tmp_path):
    path, source, tensors = released
    model = load_model(path, config={"audio_relu": False})
    assert (model.spec["task"], model.num_classes, model.uses_prior) == ("avss", 5, False)
    again = load_model(save_model(model, tmp_path / "own.safetensors"))
    assert torch.equal(run(model, tensors).logits, run(again, tensors).logits)
    difference = (run(model, tensors).logits - tensors["pred"][:5]).abs().max()
    assert difference < 1e-5 * tensors["pred"].abs().max()  # as in the parity tests
    assert read_foreign(path).source == source


def test_an_imported_model_keeps_nothing_of_its_file_but_the_values(released, tmp_path):
    path, _, tensors = released
    file = tmp_path / "released.safetensors"
    save_file({name: tensor.clone() for name, tensor in torch.load(path).items()}, file)
    model = load_model(file, config={"audio_relu": False})
    before = run(model, tensors).logits
    with file.open("r+b") as handle:
        handle.write(b"\x3f" * file.stat().st_size)
    assert torch.equal(run(model, tensors).logits, before)


def test_a_checkpoint_of_another_source_is_refused(released):
    path, source, _ = released
    other = "avsegformer" if source == "avsbench" else "avsbench"
    with pytest.raises(ValueError, match=f"is not from {other}: its tensors are those of {source}"):
        import_model(path, source=other)


def test_a_checkpoint_with_a_part_cut_away_is_refused(released, tmp_path):
    path, source, tensors = released
    state = weights_of(tensors)
    del state["conv2.conv2d_list.1.bias" if source == "avsbench" else "head.in_proj.2.0.bias"]
    save_file(state, tmp_path / "cut.safetensors")
    with pytest.raises(ValueError, match="does not fit the model: 1 tensors, first pro|pixel_decoder.projections.2.0"):
        import_model(tmp_path / "cut.safetensors")
    missing = "output_conv.0.weight" if source == "avsbench" else "head.mlp.layers.0.weight"
    save_file({k: t for k, t in weights_of(tensors).items() if k != missing}, tmp_path / "cut.safetensors")
    with pytest.raises(ValueError, match=f"is not whole: '{missing}' is missing"):
        import_model(tmp_path / "cut.safetensors")


def test_stage_2_starts_from_a_released_single_stage_model(released):
    path, source, tensors = released
    sizes = MODULES["tpavi" if source == "avsbench" else "avsegformer"].sizes(weights_of(tensors))
    name = "tpavi" if source == "avsbench" else "avsegformer"
    model = create_model(name, **{**sizes, "num_classes": 7}, prior_fusion=True)
    fresh = model.state_dict()["head.classify.weight"].clone()
    report = initialise(model, path)
    assert {line.split(":")[0].split(" ")[0] for line in [*report.mismatched, *report.missing]} <= {
        "head.classify.weight",
        "head.classify.bias",
    }
    assert torch.equal(model.state_dict()["head.classify.weight"], fresh)
    key = "output_conv.0.weight" if source == "avsbench" else "head.fc.0.weight"
    assert torch.equal(model.state_dict()["head.reduce.weight"], weights_of(tensors)[key])


def test_weights_of_another_model_are_refused_as_a_start():
    with pytest.raises(ValueError, match="does not fit the model"):
        initialise(create_model("tpavi", preset="tiny"), FOLDER.parent / "aavs" / "stage2_tiny.safetensors")


def test_vggish_is_found_inside_a_checkpoint_that_carries_it(tmp_path):
    from avsctl_models.audio.vggish import Vggish

    torch.manual_seed(0)
    network = Vggish()
    state = {f"vggish.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({**state, "head.fc.4.weight": torch.zeros(1)}, tmp_path / "carrier.pth")
    found = load_vggish(tmp_path / "carrier.pth")
    (tmp_path / "carrier.pth").unlink()  # 290 MB
    assert torch.equal(found.embeddings[4].weight, network.embeddings[4].weight)
