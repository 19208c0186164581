"""Largest differences between our plain Mask2Former and Hugging Face's at the paper's size, same random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from golden_parity import Errors

from avsctl_models.weights.importing import import_model


def peer_model() -> torch.nn.Module:
    """Hugging Face's Mask2Former with Swin-B, 384 pixels, 100 queries and 150 classes."""
    import transformers

    swin = transformers.SwinConfig(
        image_size=384,
        embed_dim=128,
        depths=[2, 2, 18, 2],
        num_heads=[4, 8, 16, 32],
        window_size=12,
        out_features=["stage1", "stage2", "stage3", "stage4"],
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


def full_size_errors(folder: Path) -> dict[str, tuple[float, float]]:
    """Errors by group of tensors; 500 MB are written to the folder."""
    peer = peer_model()
    frames = torch.randn(1, 3, 384, 384)
    with torch.no_grad():
        theirs = peer(frames, output_hidden_states=True)
    peer.save_pretrained(folder)
    del peer
    model, report = import_model(folder)
    assert report.complete
    with torch.no_grad():
        ours = model(frames, None, intermediates=True)
    errors = Errors()
    for mine, other in zip(ours.intermediates["backbone"], theirs.encoder_hidden_states, strict=True):
        errors.add("backbone maps", mine, other)
    *earlier, (last_classes, last_masks) = ours.predictions
    assert len(earlier) == len(theirs.auxiliary_logits) == 9
    for (classes, masks), other in zip(earlier, theirs.auxiliary_logits, strict=True):
        errors.add("class logits", classes, other["class_queries_logits"])
        errors.add("mask logits", masks, other["masks_queries_logits"])
    errors.add("class logits", last_classes, theirs.class_queries_logits)
    errors.add("mask logits", last_masks, theirs.masks_queries_logits)
    return errors.groups
