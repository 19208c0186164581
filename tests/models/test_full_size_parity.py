"""At the paper's size, our plain Mask2Former gives what Hugging Face's gives with the same weights."""

from __future__ import annotations

import pytest
import torch

from avsctl_models.weights import mask2former_hf
from avsctl_models.weights.files import read_config, read_weights

transformers = pytest.importorskip("transformers")

# About 20 s on one slow core and 2 GB; the promise is 1e-4 of a tensor's scale, 1.2e-6 is usual.
TOLERANCE = 1e-4
STAGES = ["stage1", "stage2", "stage3", "stage4"]


def _peer() -> torch.nn.Module:
    swin = transformers.SwinConfig(
        image_size=384,
        embed_dim=128,
        depths=[2, 2, 18, 2],
        num_heads=[4, 8, 16, 32],
        window_size=12,
        out_features=STAGES,
    )
    config = transformers.Mask2FormerConfig(
        backbone_config=swin, num_labels=150, num_queries=100, output_auxiliary_logits=True
    )
    torch.manual_seed(0)
    peer = transformers.Mask2FormerForUniversalSegmentation(config).eval()
    with torch.no_grad():  # fresh norms, biases and sampling weights are ones and zeros, which hide mistakes
        for name, parameter in peer.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.empty_like(parameter).uniform_(-0.3, 0.3))
            elif "sampling_offsets" in name or "attention_weights" in name:
                parameter.normal_(std=0.05)
    return peer


def test_swin_b_at_384_agrees_in_every_prediction(tmp_path):
    peer = _peer()
    frames = torch.randn(1, 3, 384, 384)
    with torch.no_grad():
        theirs = peer(frames, output_hidden_states=True)
    peer.save_pretrained(tmp_path)
    del peer

    model = mask2former_hf.build(read_config(tmp_path / "config.json"))
    weights, report = mask2former_hf.convert(read_weights(tmp_path), model)
    assert report.complete
    model.load_state_dict(weights)
    with torch.no_grad():
        ours = model.eval()(frames, None, intermediates=True)

    for mine, other in zip(ours.intermediates["backbone"], theirs.encoder_hidden_states, strict=True):
        assert _share(mine, other) < TOLERANCE
    assert len(ours.auxiliary) == len(theirs.auxiliary_logits) == 9
    for (classes, masks), other in zip(ours.auxiliary, theirs.auxiliary_logits, strict=True):
        assert _share(classes, other["class_queries_logits"]) < TOLERANCE
        assert _share(masks, other["masks_queries_logits"]) < TOLERANCE
    assert ours.class_logits.shape == (1, 100, 151)
    assert _share(ours.class_logits, theirs.class_queries_logits) < TOLERANCE
    assert _share(ours.mask_logits, theirs.masks_queries_logits) < TOLERANCE


def _share(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()
