"""The losses of a batch's parts add up to the batch's, and so do their gradients."""

from __future__ import annotations

from functools import reduce
from operator import add

import pytest
import torch

from avsctl_models import create_model

LENGTHS = (2, 1, 3, 1)  # clips; the second and the last have no label
LABELLED = torch.tensor([True, False, False, True, True, True, False])
MODELS = [
    ("aavs", "avs", {}),
    ("aavs", "avss", {}),
    ("tpavi", "avs", {"audio_loss": {"distance": "euclid"}}),
    ("tpavi", "avs", {"audio_loss": {"distance": "kl"}}),
    ("tpavi", "avss", {}),
    ("avsegformer", "avs", {}),
    ("avsegformer", "avss", {"mask_loss": "bce"}),
]


def batch():
    generator = torch.Generator().manual_seed(4)
    frames = torch.randn(7, 3, 64, 64, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 5, (7, 8, 8), generator=generator, dtype=torch.uint8)
    labels[3] = 2  # frames differ in their number of classes
    labels[~LABELLED] = 255
    return frames, torch.randn(7, 16, generator=generator, dtype=torch.float64), labels


def learn(model, task, parts):
    """Loss and gradients of clips in parts, each given as clip numbers."""
    frames, audio, labels = batch()
    labels = torch.where(labels < 255, (labels > 2).to(labels.dtype), labels) if task == "avs" else labels
    starts = [sum(LENGTHS[:clip]) for clip in range(len(LENGTHS) + 1)]
    model.zero_grad(set_to_none=True)
    slices = [(slice(starts[part[0]], starts[part[-1] + 1]), part) for part in parts]
    counts = [model.loss_counts(labels[at], LABELLED[at], (64, 64)) for at, _ in slices]
    whole = None if len(parts) == 1 else reduce(add, counts)
    total = 0.0
    for at, part in slices:
        lengths = [LENGTHS[clip] for clip in part]
        output = model(frames[at], audio[at], lengths=lengths)
        seeds = [7 * frame for frame in range(at.start, at.stop)]
        losses = model.loss(output, labels[at], LABELLED[at], lengths=lengths, whole=whole, seeds=seeds)
        losses["loss"].backward()
        total += float(losses["loss"].detach())
    return total, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name, task, settings", MODELS)
def test_parts_add_up_to_the_whole(name, task, settings):
    torch.manual_seed(1)
    model = create_model(
        name, preset="tiny", task=task, num_classes=2 if task == "avs" else 5, audio_dim=16, image_size=64, **settings
    )
    model.double().eval()  # with batch norms as they are
    loss, gradients = learn(model, task, [[0, 1, 2, 3]])
    for parts in ([[0, 1], [2, 3]], [[0], [1], [2], [3]]):
        parted, found = learn(model, task, parts)
        # Losses are computed in float32: sums in another order, over thousands of pixels.
        assert parted == pytest.approx(loss, rel=1e-5)
        assert found.keys() == gradients.keys()
        scale = max(gradient.abs().max() for gradient in gradients.values())
        for key, gradient in gradients.items():
            torch.testing.assert_close(found[key], gradient, rtol=1e-4, atol=1e-6 * float(scale), msg=key)
