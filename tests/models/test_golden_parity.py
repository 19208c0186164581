"""Our AAVS gives what the released code gives, tensor by tensor, for the same random weights."""

from __future__ import annotations

import pytest
import torch
from golden_parity import CASES, case_losses, forward_errors, load_case, loss_errors, upsampled_to_384

from avsctl_models import semantic_inference, targets_from_labels

# Promised is 1e-4 of a tensor's scale; float32 on another processor stays far below a tenth of that.
TOLERANCE = 1e-5


@pytest.fixture(params=CASES, scope="module")
def case(request):
    return load_case(request.param)


def test_every_tensor_of_the_forward_pass_agrees(case):
    errors = forward_errors(case)
    assert len(errors) >= 10
    too_large = {group: shares for group, shares in errors.items() if shares[1] > TOLERANCE}
    assert not too_large


def test_attention_masks_agree_exactly(case):
    for i, blocked in enumerate(case.output.intermediates["attention_masks"]):
        assert torch.equal(blocked, case.io[f"out.attn_mask.{i}"].bool()), f"layer {i}"


def test_decisions_agree_exactly(case):
    size = tuple(case.io["out.post.prob"].shape[-2:])
    decisions = semantic_inference(case.output, size).argmax(1)
    assert torch.equal(decisions, case.io["out.post.prob"].argmax(1))
    assert torch.equal(upsampled_to_384(case).argmax(1), case.io["out.post384.argmax"].long())


def test_losses_of_every_prediction_agree(case):
    too_large = {group: shares for group, shares in loss_errors(case).items() if shares[1] > TOLERANCE}
    assert not too_large


def test_matched_pairs_agree_exactly(case):
    indices = case_losses(case)["indices"]
    for layer, tag in zip(indices, case.tags, strict=True):
        frame, query, target = layer
        for b in range(len(case.output.class_logits)):
            assert torch.equal(query[frame == b], case.loss[f"out.{tag}.match_pred.{b}"])
            assert torch.equal(target[frame == b], case.loss[f"out.{tag}.match_target.{b}"])


def test_targets_agree_exactly(case):
    targets = targets_from_labels(case.loss["in.label_map"].long(), case.output.input_size)
    for b, target in enumerate(targets):
        assert torch.equal(target.masks, case.loss[f"in.mask_labels.{b}"].bool())
        assert torch.equal(target.classes, case.loss[f"in.class_labels.{b}"])


def test_every_tensor_of_the_file_is_accounted_for(case):
    assert case.report.complete
    assert not case.report.unused
    # stage 1 has an adapter in the place of 2 + 4 output projections, which its files still carry
    assert all(name.endswith(("proj.weight", "proj.bias")) for name in case.report.dead)
    assert len(case.report.dead) == (12 if case.name == "stage1_tiny" else 0)
    assert all(name.endswith(("relative_position_index", "empty_weight")) for name in case.report.ignored)
