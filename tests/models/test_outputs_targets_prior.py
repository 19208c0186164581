"""Class maps, targets and the uses of a prior, against hand-worked and obvious versions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from given_predictions import predictions_of
from PIL import Image

from avsctl_models import (
    SegmentationOutput,
    outputs,
    semantic_decision,
    semantic_inference,
    targets_from_labels,
)
from avsctl_models.positions import sine_positions
from avsctl_models.prior import fuse_prior, prior_attention_mask, robust_audio_keys


def test_class_maps_equal_the_formula_however_small_the_working_memory(monkeypatch):
    torch.manual_seed(0)
    output = SegmentationOutput(predictions_of((torch.randn(3, 7, 5), torch.randn(3, 7, 6, 8))), (24, 32))
    masks = F.interpolate(output.mask_logits, (24, 32), mode="bilinear").sigmoid()
    wanted = torch.einsum("nqk,nqhw->nkhw", output.class_logits.softmax(-1)[..., :4], masks)
    wanted_small = F.interpolate(wanted, (11, 13), mode="bilinear")
    for elements in (2**24, 5000, 1):
        monkeypatch.setattr(outputs, "_WORKING_ELEMENTS", elements)
        torch.testing.assert_close(semantic_inference(output, (24, 32)), wanted, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(semantic_inference(output, (11, 13)), wanted_small, rtol=1e-5, atol=1e-6)


def test_no_frames_give_no_maps():
    empty = SegmentationOutput(predictions_of((torch.zeros(0, 7, 5), torch.zeros(0, 7, 6, 8))), (24, 32))
    assert semantic_inference(empty, (9, 9)).shape == (0, 4, 9, 9)


def test_targets_are_one_mask_per_value_background_included():
    labels = torch.tensor([[[0, 0, 7], [255, 3, 3]], [[0, 0, 0], [0, 0, 0]]])
    first, second = targets_from_labels(labels, (2, 3))
    assert first.classes.tolist() == [0, 3, 7]
    assert first.masks[1].tolist() == [[False, False, False], [False, True, True]]
    assert second.classes.tolist() == [0] and second.masks.all()


@pytest.mark.parametrize("size", [(384, 384), (13, 29), (224, 96)])
def test_labels_are_resized_as_pil_does_it(size):
    labels = np.random.default_rng(0).integers(0, 9, (57, 41), dtype=np.uint8)
    wanted = np.asarray(Image.fromarray(labels).resize(size[::-1], Image.Resampling.NEAREST))
    target = targets_from_labels(torch.from_numpy(labels)[None].long(), size)[0]
    ours = (target.masks * target.classes[:, None, None]).sum(0)
    assert torch.equal(ours, torch.from_numpy(wanted.astype(np.int64)))


def test_keys_are_silent_uncertain_or_sounding_with_the_thresholds_in_the_outer_states():
    prior = torch.tensor([[[0.0, 0.4, 0.41, 0.59, 0.6, 1.0]]])
    embeddings = torch.tensor([[1.0], [10.0], [100.0]])
    keys = robust_audio_keys(torch.zeros(1, 1, 1, 6), prior, embeddings)
    assert keys.flatten().tolist() == [1, 1, 10, 10, 100, 100]


def test_keys_refuse_thresholds_and_batches_that_do_not_fit():
    with pytest.raises(ValueError, match="must lie below"):
        robust_audio_keys(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1), torch.zeros(3, 1), low=0.6, high=0.6)
    with pytest.raises(ValueError, match="do not fit a prior of 3 frames"):
        robust_audio_keys(torch.zeros(2, 1, 1, 1), torch.zeros(3, 1, 1), torch.zeros(3, 1))


def test_the_first_mask_blocks_below_one_half_for_all_queries():
    blocked = prior_attention_mask(torch.tensor([[[0.49, 0.5], [1.0, 0.0]]]), (2, 2), 3)
    assert blocked.tolist() == [[[True, False, False, True]] * 3]


def test_fusion_adds_one_map_to_all_channels():
    fused = fuse_prior(torch.zeros(1, 3, 4, 4), torch.full((1, 9, 9), 0.25))
    assert torch.equal(fused, torch.full((1, 3, 4, 4), 0.25))


def test_position_codes_turn_once_per_axis():
    code = sine_positions(4, 8, 8)[0]
    rows, columns = code[:4], code[4:]
    assert torch.equal(rows[:, :, 0], rows[:, :, 7])
    assert torch.equal(columns[:, 0], columns[:, 3])
    turn = 2 * torch.pi * torch.arange(1, 5) / 4
    torch.testing.assert_close(rows[0, :, 0], turn.sin(), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows[1, :, 0], turn.cos(), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="multiple of 4"):
        sine_positions(4, 4, 6)


def test_the_decision_is_the_argmax_of_all_class_maps():
    generator = torch.Generator().manual_seed(5)
    for classes, sharpness in ((3, 1.0), (40, 1.0), (40, 12.0)):
        class_logits = sharpness * torch.randn(3, 9, classes + 1, generator=generator)
        mask_logits = sharpness * torch.randn(3, 9, 12, 16, generator=generator)
        output = SegmentationOutput(predictions_of((class_logits, mask_logits)), (48, 64))
        for size in ((48, 64), (30, 90), (224, 224)):
            expected = semantic_inference(output, size).argmax(1).to(torch.uint8)
            assert torch.equal(semantic_decision(output, size), expected)
