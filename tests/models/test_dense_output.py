"""Predictions per pixel take the same way to class maps and decisions as those of queries."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from avsctl_models import DenseOutput, outputs, semantic_decision, semantic_inference


def test_a_binary_model_gives_silent_and_sounding():
    output = DenseOutput(torch.tensor([[[[0.0, 2.0], [-2.0, 1e-3]]]]), (2, 2))
    maps = semantic_inference(output, (2, 2))
    sounding = torch.tensor([[0.5, 0.8808], [0.1192, 0.50025]])
    torch.testing.assert_close(maps, torch.stack([1 - sounding, sounding])[None], atol=1e-4, rtol=0)
    # a logit of exactly 0 is silent, as AVSBench's "> 0.5" has it
    assert semantic_decision(output, (2, 2)).tolist() == [[[0, 1], [0, 1]]]
    assert output.num_classes == 2


def test_class_logits_are_softmaxed_and_then_resized(monkeypatch):
    logits = 3 * torch.randn(3, 6, 8, 10, generator=torch.Generator().manual_seed(0))
    output = DenseOutput(logits, (16, 20))
    for elements in (2**24, 1):
        monkeypatch.setattr(outputs, "_WORKING_ELEMENTS", elements)
        probabilities = logits.softmax(1)
        for size in ((16, 20), (7, 9)):
            full = F.interpolate(probabilities, (16, 20), mode="bilinear")
            wanted = full if size == (16, 20) else F.interpolate(full, size, mode="bilinear")
            torch.testing.assert_close(semantic_inference(output, size), wanted)
            assert torch.equal(semantic_decision(output, size), semantic_inference(output, size).argmax(1).byte())


def test_equal_logits_decide_for_the_background():
    assert not semantic_decision(DenseOutput(torch.zeros(1, 71, 4, 4), (4, 4)), (4, 4)).any()


def test_no_frames_give_nothing():
    output = DenseOutput(torch.zeros(0, 1, 4, 4), (4, 4))
    assert semantic_inference(output, (9, 9)).shape == (0, 2, 9, 9)
    assert semantic_decision(output, (9, 9)).shape == (0, 9, 9)


def test_selected_frames_take_their_features_along():
    output = DenseOutput(
        torch.arange(3.0).view(3, 1, 1, 1), (1, 1), maps=[torch.arange(3.0).view(3, 1, 1, 1)], sounds=[torch.eye(3)]
    )
    chosen = output.select(torch.tensor([True, False, True]))
    assert len(chosen) == 2 and chosen.input_size == (1, 1)
    assert chosen.logits.flatten().tolist() == chosen.maps[0].flatten().tolist() == [0, 2]
    assert torch.equal(chosen.sounds[0], torch.eye(3)[[0, 2]])
