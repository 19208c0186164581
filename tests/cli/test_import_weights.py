"""`avsctl import-weights` as one types it, and unconverted weights wherever a checkpoint is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from avsctl_models import load_model

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden" / "aavs"
BIAS = "model.model.pixel_level_module.encoder.hidden_states_norms.stage3.bias"


@pytest.fixture
def import_weights(typed, monkeypatch, tmp_path):
    """Run `avsctl import-weights` in an empty folder; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return partial(typed, "import-weights")


def _refused(result, *says):
    code, _, err = result
    assert code == 2
    assert len(err.strip().splitlines()) == 1, err
    for part in says:
        assert part in err
    assert not [path for path in Path().rglob("*") if path.name.startswith("out.safetensors")]


@pytest.mark.parametrize(
    ("name", "source", "matched", "dead"),
    [
        ("stage1_tiny", "stepping-stones-avs", 354, 12),
        ("stage2_tiny", "stepping-stones-avss", 367, 0),
        ("mask2former_tiny", "mask2former-hf", 282, 0),
    ],
)
def test_every_golden_model_is_converted_with_all_it_needs(import_weights, name, source, matched, dead):
    words = (GOLDEN / f"{name}.safetensors", "--config", GOLDEN / f"{name}.json", "--out", "out.safetensors")
    code, out, err = import_weights(*words, "--from", source, "--json")
    assert code == 0, err
    content = json.loads(out)
    assert content["source"] == source
    assert content["counts"] == {
        "matched": matched,
        "unused": 0,
        "missing": 0,
        "misshapen": 0,
        "recomputed": 8,
        "dead": dead,
        "vggish": 0,
    }
    assert all(len(content[kind]) == count for kind, count in content["counts"].items())
    state = load_model("out.safetensors").state_dict()
    assert sorted(content["matched"]) == sorted(state)
    assert content["model"]["num_classes"] == json.loads((GOLDEN / f"{name}.json").read_text())["num_labels"]


def test_the_report_is_readable_and_long_lists_are_cut_unless_asked(import_weights):
    words = (GOLDEN / "stage1_tiny.safetensors", "--out", "out.safetensors")
    code, out, err = import_weights(*words)
    assert code == 0, err
    assert "matched 354" in out and "… and 351 more (-v or --json lists all)" in out
    assert "unused 0" in out and "dead 12" in out and "missing 0" in out
    assert "… and 9 more" in out  # of 12 tensors of projections that adapters replace
    assert "out.safetensors: aavs for avs, 2 classes, 8 queries, 96x96 pixels" in out
    code, out, _ = import_weights(*words, "--overwrite", "-v")
    assert code == 0
    assert "more (-v" not in out and out.count("_proj.weight\n") == 6


def test_pickled_weights_and_folders_give_the_same_file(import_weights):
    state = load_file(GOLDEN / "stage2_tiny.safetensors")
    config = (GOLDEN / "stage2_tiny.json").read_text()
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, "w.pth")
    Path("w.json").write_text(config)
    folder = Path("sharded")
    folder.mkdir()
    (folder / "config.json").write_text(config)
    names = sorted(state)
    places = {}
    for shard in (1, 2):
        part = {name: state[name] for name in names[shard - 1 :: 2]}
        torch.save(part, folder / f"pytorch_model-0000{shard}-of-00002.bin")
        places |= dict.fromkeys(part, f"pytorch_model-0000{shard}-of-00002.bin")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    written = []
    for source in (GOLDEN / "stage2_tiny.safetensors", "w.pth", "sharded"):
        code, _, err = import_weights(source, "--out", "made/out.safetensors", "--overwrite")
        assert code == 0, err
        written.append(Path("made/out.safetensors").read_bytes())
    assert written[0] == written[1] == written[2]


def test_a_missing_tensor_is_named_and_nothing_is_written(import_weights):
    state = load_file(GOLDEN / "stage2_tiny.safetensors")
    del state[BIAS]
    save_file(state, "w.safetensors")
    words = ("w.safetensors", "--config", GOLDEN / "stage2_tiny.json", "--out", "out.safetensors")
    _refused(import_weights(*words), "w.safetensors does not fit the model: 1 tensors", "backbone.norms.2.bias")
    result = import_weights(*words, "--json")
    content = json.loads(result[1])
    _refused(result)
    assert content["out"] is None
    assert content["missing"] == [f"backbone.norms.2.bias (from {BIAS.removeprefix('model.')})"]


def test_other_models_wrong_sources_and_wrong_sizes_are_refused(import_weights):
    golden = GOLDEN / "stage2_tiny.safetensors"
    save_file({"classifier.weight": torch.zeros(2), "stem": torch.zeros(2)}, "other.safetensors")
    _refused(import_weights("other.safetensors", "--out", "out.safetensors"), "other.safetensors", "classifier.weight")
    result = import_weights(golden, "--from", "stepping-stones-avs", "--out", "out.safetensors")
    _refused(result, "is not from stepping-stones-avs", "those of stepping-stones-avss")
    result = import_weights(golden, "--from", "vggish", "--out", "out.safetensors")
    _refused(result, "is not from vggish")
    Path("bare").mkdir()
    save_file(load_file(golden), "bare/w.safetensors")
    Path("bare/config.json").write_text('{"epochs": 3}')  # of something else
    result = import_weights("bare/w.safetensors", "--out", "out.safetensors")
    _refused(result, "bare/w.safetensors", "sizes of the published models", "--config")
    config = json.loads((GOLDEN / "stage2_tiny.json").read_text())
    for part, change in (
        ("backbone", {"depths": 5}),
        ("mask2former", {"num_attention_heads": 3}),
        ("mask2former", {"num_queries": "ten"}),
        ("mask2former", {"pre_norm": True}),
    ):
        Path("c.json").write_text(json.dumps({**config, part: {**config[part], **change}}))
        result = import_weights(golden, "--config", "c.json", "--out", "out.safetensors")
        _refused(result, str(golden), "no model can be built from c.json")
    for content in ("{", "[]"):
        Path("c.json").write_text(content)
        _refused(import_weights(golden, "--config", "c.json", "--out", "out.safetensors"), "c.json")


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_broken_and_dangerous_files_are_refused_and_not_run(import_weights):
    torch.save({BIAS: torch.zeros(2), "x": Trap()}, "trap.pth")
    _refused(import_weights("trap.pth", "--out", "out.safetensors"), "trap.pth", "nothing in it was run")
    whole = (GOLDEN / "stage1_tiny.safetensors").read_bytes()
    Path("cut.safetensors").write_bytes(whole[:-1000])
    _refused(import_weights("cut.safetensors", "--out", "out.safetensors"), "cut.safetensors is truncated")
    Path("cut.pth").write_bytes(whole[:1000])
    _refused(import_weights("cut.pth", "--out", "out.safetensors"), "cut.pth")
    _refused(import_weights("nothing.pth", "--out", "out.safetensors"), "There is no file nothing.pth")
    assert not Path("sprung").exists()


def test_what_is_there_is_kept_unless_told_otherwise(import_weights):
    golden = GOLDEN / "stage1_tiny.safetensors"
    Path("kept.safetensors").write_text("mine")
    code, _, err = import_weights(golden, "--out", "kept.safetensors")
    assert code == 2 and "kept.safetensors exists already" in err
    assert Path("kept.safetensors").read_text() == "mine"
    _refused(import_weights(golden, "--out", "out.bin"), "must end in .safetensors")
    Path("w.safetensors").write_bytes(golden.read_bytes())
    code, _, err = import_weights("w.safetensors", "--out", "./w.safetensors", "--overwrite")
    assert code == 2 and "the file to convert" in err
    assert import_weights(golden, "--out", "kept.safetensors", "--overwrite")[0] == 0
    _refused(import_weights("kept.safetensors", "--out", "out.safetensors"), "a model of avsctl already")
    assert not list(Path().glob("*.part"))


def test_the_hub_without_a_network_is_one_clear_line(import_weights, monkeypatch):
    from avsctl_models.weights import hub

    monkeypatch.setattr(hub, "_hub_answers", lambda: False)
    monkeypatch.setattr(hub, "_fetch", lambda *words: None)
    _refused(import_weights("hf://owner/name", "--out", "out.safetensors"), "hf://owner/name", "cannot be reached")


def test_vggish_is_converted_for_extract_audio(import_weights):
    from avsctl_models.audio.vggish import Vggish, load_pca, load_vggish

    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Vggish().state_dict().items()}
    values = torch.linspace(-0.01, 0.01, len(shapes))
    state = {name: value.expand(shape) for value, (name, shape) in zip(values, shapes.items(), strict=True)}
    pca = {"pca_eigen_vectors": torch.eye(128), "pca_means": torch.zeros(128, 1)}
    torch.save({**state, "pproc.pca_means": pca["pca_means"]}, "vggish.pth")
    code, out, err = import_weights("vggish.pth", "--out", "made.safetensors", "--json")
    assert code == 0, err
    content = json.loads(out)
    assert content["counts"]["matched"] == 18 and content["unused"] == ["pproc.pca_means"]
    network = load_vggish(Path("made.safetensors"))
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    Path("made.safetensors").unlink()  # 290 MB

    torch.save(pca, "pca.pth")
    assert import_weights("pca.pth", "--from", "vggish", "--out", "pca.safetensors")[0] == 0
    assert load_pca(Path("pca.safetensors"))[0].shape == (128, 128)
    torch.save({name: tensor for name, tensor in state.items() if name != "features.3.bias"}, "part.pth")
    _refused(import_weights("part.pth", "--out", "out.safetensors"), "part.pth is not whole", "features.3.bias")


def test_released_checkpoints_are_checkpoints_as_they_are(tmp_path):
    from avsctl.errors import AvsctlError
    from avsctl.stages.inputs import load_checkpoint

    for name, task in (("stage1_tiny", "avs"), ("stage2_tiny", "avss")):
        model = load_checkpoint(GOLDEN / f"{name}.safetensors", task)
        assert (model.spec["task"], model.training) == (task, False)
    with pytest.raises(AvsctlError, match="of task avss, not avs"):
        load_checkpoint(GOLDEN / "stage2_tiny.safetensors", "avs")
    with pytest.raises(AvsctlError, match="hears nothing: it can start a training"):
        load_checkpoint(GOLDEN / "mask2former_tiny.safetensors", "avss")
    (tmp_path / "w.pth").write_bytes(b"\x80\x02")
    with pytest.raises(AvsctlError, match="w.pth is truncated"):
        load_checkpoint(tmp_path / "w.pth", "avs")


def test_released_checkpoints_draw_clips_as_they_are(tiny_workspace, tmp_path):
    from avsctl.stages.visualize_clips import visualize_clips
    from avsctl.workspace import Workspace

    checkpoint = str(GOLDEN / "stage1_tiny.safetensors")
    result = visualize_clips(Workspace(tiny_workspace), "test", count=1, avs=checkpoint, device="cpu", out=tmp_path)
    assert result.files and all(path.stat().st_size for path in result.files)


def test_training_starts_from_unconverted_weights(tiny_workspace, tmp_path, monkeypatch):
    from avsctl.caches.audio import AudioCache
    from avsctl.caches.clips import ClipCache
    from avsctl.configs import resolve_training
    from avsctl.errors import AvsctlError
    from avsctl.stages import start_weights, train

    caches = ClipCache(tiny_workspace / "clips.h5"), AudioCache(tiny_workspace / "audio.h5")
    norm = torch.rand(64)
    released = {
        "model.model.transformer_module.decoder.layernorm.weight": norm,
        "model.model.transformer_module.level_embed.weight": torch.rand(3, 64),
        "model.model.pixel_level_module.decoder.level_embed": torch.zeros(3, 64),  # a pyramid has none
        "model.class_predictor.bias": torch.zeros(151),
    }
    torch.save(released, tmp_path / "released.pth")
    said = []
    monkeypatch.setattr(start_weights.log, "info", lambda text, *values: said.append(text % values))
    config = resolve_training("avs", "tiny", "all", {"init_from": str(tmp_path / "released.pth"), "image_size": 64})
    model = train.build_model(config, *caches)
    assert torch.equal(model.decoder.norm.weight, norm)
    left = len(model.state_dict()) - 2
    path = tmp_path / "released.pth"
    wanted = f"{path}: 2 tensors taken, {left} of the model's keep their initial values, 1 of the file's are not used"
    assert said == [wanted]
    path.write_bytes(b"\x80\x02")
    with pytest.raises(AvsctlError, match="released.pth is truncated"):
        train.build_model(config, *caches)


def test_the_example_runs_on_a_released_file():
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "load_model.py", GOLDEN / "stage2_tiny.safetensors"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == "aavs swin-b-384 avss: 7 classes, maps (5, 7, 224, 224)\n", done.stderr
