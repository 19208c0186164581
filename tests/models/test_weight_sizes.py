"""Released weights of any size become models; nothing depends on the sizes that were published."""

from __future__ import annotations

import json

import pytest
import torch
from official_weights import SMALL, official_weights
from safetensors.torch import save_file

from avsctl_models import load_model, save_model, semantic_inference
from avsctl_models.weights.importing import import_model

STAGES = {"avs": "stepping-stones-avs", "avss": "stepping-stones-avss"}


def _write(folder, kind, config):
    torch.save(official_weights(config, kind), folder / "released.pth")
    (folder / "released.json").write_text(json.dumps(config))
    return folder / "released.pth"


@pytest.mark.parametrize("kind", STAGES)
@pytest.mark.parametrize(("classes", "queries", "heads"), [(2, 6, 8), (5, 9, 2)])
def test_either_stage_of_another_size_loads_and_predicts(tmp_path, kind, classes, queries, heads):
    sizes = {**SMALL["mask2former"], "num_queries": queries, "num_attention_heads": heads}
    config = {**SMALL, "num_labels": classes, "mask2former": sizes}
    path = _write(tmp_path, kind, config)
    model, report = import_model(path, source=STAGES[kind])
    assert report.complete
    assert report.ignored == ["criterion.empty_weight"]
    assert not report.unused and len(report.dead) == (12 if kind == "avs" else 0)  # 3 + 3 projections with bias

    frames, audio = torch.randn(2, 3, 128, 128), torch.randn(2, 128)
    prior = torch.rand(2, 75, 75) if kind == "avss" else None
    with torch.no_grad():
        output = model(frames, audio, prior, intermediates=True)
        again = load_model(save_model(model, tmp_path / "model.safetensors"))(frames, audio, prior)
    assert output.class_logits.shape == (2, queries, classes + 1)
    assert output.mask_logits.shape == (2, queries, 32, 32)
    assert len(output.predictions) == 4
    assert [tuple(m.shape[1:]) for m in output.intermediates["backbone"]] == [
        (18, 32, 32),
        (36, 16, 16),
        (72, 8, 8),
        (144, 4, 4),
    ]
    assert semantic_inference(output, (75, 75)).shape == (2, classes, 75, 75)
    assert torch.equal(again.mask_logits, output.mask_logits)
    if kind == "avss":
        without = model(frames, audio)
        assert not torch.equal(without.mask_logits, output.mask_logits)


@pytest.mark.filterwarnings("ignore:You'd better set embed_dim")
def test_plain_mask2former_of_another_size_gives_what_hugging_face_gives(tmp_path):
    transformers = pytest.importorskip("transformers")
    swin = {**SMALL["backbone"], "model_type": "swin", "out_features": [f"stage{i}" for i in (1, 2, 3, 4)]}
    swin["image_size"] = 128
    labels = {str(index): f"class {index}" for index in range(SMALL["num_labels"])}
    config = {**SMALL["mask2former"], "model_type": "mask2former", "backbone_config": swin, "id2label": labels}
    config |= {"architectures": ["Mask2FormerForUniversalSegmentation"], "output_auxiliary_logits": True}
    config["label2id"] = {name: int(index) for index, name in labels.items()}
    state = official_weights(SMALL, "plain")
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    peer, loading = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(tmp_path, output_loading_info=True)
    # newer versions of the class carry a final norm that nothing uses and that released files lack
    assert not [name for name in loading["missing_keys"] if ".swin.layernorm." not in name]
    assert not loading["unexpected_keys"]

    frames = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        ours = load_model(tmp_path)(frames, None)  # sizes from config.json
        theirs = peer.eval()(frames)
    pairs = list(ours.predictions)
    wanted = [tuple(layer.values()) for layer in theirs.auxiliary_logits]
    wanted = [sorted(pair, key=lambda t: t.ndim) for pair in wanted]
    wanted.append((theirs.class_queries_logits, theirs.masks_queries_logits))
    assert len(pairs) == len(wanted) == 4
    for (classes, masks), (their_classes, their_masks) in zip(pairs, wanted, strict=True):
        for mine, other in ((classes, their_classes), (masks, their_masks)):
            assert (mine - other).abs().max() <= 2e-5 * other.abs().max()  # float32; 2e-6 is usual
