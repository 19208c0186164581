"""The fast loss equals a slow, obvious one; drawing is deterministic; odd frames are survived."""

from __future__ import annotations

import math

import pytest
import torch
from given_predictions import predictions_of
from scipy.optimize import linear_sum_assignment

from avsctl_models import Criterion, SegmentationOutput, targets_from_labels

SIZE = (16, 24)


def output(frames=3, queries=6, classes=4, layers=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    predictions = [
        (
            torch.randn(frames, queries, classes + 1, generator=generator),
            3 * torch.randn(frames, queries, 8, 12, generator=generator),
        )
        for _ in range(layers)
    ]
    return SegmentationOutput(predictions_of(*predictions), SIZE)


def labels():
    maps = torch.zeros(3, *SIZE, dtype=torch.long)
    maps[0, 2:9, 3:12] = 2
    maps[0, 10:14, 3:20] = 3
    maps[1, 4:8, 4:8] = 1
    return maps


def bilinear(image, x, y):
    """Read one value of a map, pixel centres at integers, zero outside."""
    x0, y0 = math.floor(x), math.floor(y)
    total = 0.0
    for row in (y0, y0 + 1):
        for column in (x0, x0 + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                total += image[row, column].item() * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def read(image, points):
    height, width = image.shape
    return torch.tensor([bilinear(image, x * width - 0.5, y * height - 0.5) for x, y in points.tolist()])


def bce(a, t):
    return (torch.log1p(torch.exp(-a)) * t + torch.log1p(torch.exp(a)) * (1 - t)).mean()


def dice(a, t):
    s = a.sigmoid()
    return 1 - (2 * (s * t).sum() + 1) / (s.sum() + t.sum() + 1)


def slow_losses(out, targets, points, classes, kept):
    """Losses of the paper's Eq. 3, prediction by prediction, frame by frame, pair by pair."""
    sums = []
    for layer, (class_logits, mask_logits) in enumerate(out.predictions):
        wanted = torch.full(class_logits.shape[:2], classes)
        pairs = []
        for b, target in enumerate(targets):
            at = points.matcher[layer, b]
            logits = [read(mask, at) for mask in mask_logits[b]]
            truths = [read(mask.float(), at) for mask in target.masks]
            share = class_logits[b].softmax(-1)
            cost = [
                [-share[q, c] + 5 * bce(a, t) + 5 * dice(a, t) for c, t in zip(target.classes, truths, strict=True)]
                for q, a in enumerate(logits)
            ]
            for q, t in zip(*linear_sum_assignment(torch.tensor(cost).numpy()), strict=True):
                wanted[b, q] = target.classes[t]
                pairs.append((mask_logits[b, q], target.masks[t].float()))
        weight = torch.where(wanted == classes, 0.1, 1.0)
        nll = -class_logits.log_softmax(-1).gather(2, wanted[..., None])[..., 0]
        masks, dices = 0.0, 0.0
        for m, (logit, truth) in enumerate(pairs):
            drawn = points.oversample[layer, m]
            doubtful = read(logit, drawn).abs().argsort()[:kept]
            places = torch.cat([drawn[doubtful], points.random[layer, m]])
            masks += bce(read(logit, places), read(truth, places))
            dices += dice(read(logit, places), read(truth, places))
        count = sum(len(target.classes) for target in targets)
        sums.append(((nll * weight).sum() / weight.sum(), masks / count, dices / count))
    return torch.tensor(sums)


def test_the_loss_equals_a_slow_and_obvious_one():
    out, targets = output(), targets_from_labels(labels(), SIZE)
    criterion = Criterion(4, points=20)
    generator = torch.Generator().manual_seed(3)
    points = criterion.draw(3, [len(t.classes) for t in targets], out, generator)
    losses = criterion(out, targets, points=points)
    slow = slow_losses(out, targets, points, classes=4, kept=15)
    fast = torch.stack([losses[f"{name}_losses"] for name in ("class", "mask", "dice")], 1)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)  # float32 sums in another order
    total = (slow * torch.tensor([2.0, 5.0, 5.0])).sum()
    torch.testing.assert_close(losses["loss"], total, rtol=1e-4, atol=1e-4)


def test_the_same_generator_gives_the_same_loss():
    out, targets = output(), targets_from_labels(labels(), SIZE)
    criterion = Criterion(4, points=20)
    first, second, other = (criterion(out, targets, torch.Generator().manual_seed(seed))["loss"] for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_perfect_prediction_costs_next_to_nothing():
    maps = labels().repeat_interleave(8, 1).repeat_interleave(8, 2)
    targets = targets_from_labels(maps, maps.shape[1:])
    classes = torch.full((3, 6), 4)
    masks = torch.full((3, 6, *maps.shape[1:]), -50.0)
    for b, target in enumerate(targets):
        classes[b, : len(target.classes)] = target.classes
        masks[b, : len(target.classes)][target.masks] = 50.0
    logits = torch.nn.functional.one_hot(classes, 5) * 50.0
    # points chosen by doubt would all lie on borders, where logits pass through zero from -50 to 50
    criterion, generator = Criterion(4, points=500, importance=0.0), torch.Generator().manual_seed(0)
    perfect = criterion(SegmentationOutput(predictions_of((logits, masks)), SIZE), targets, generator)
    random = criterion(output(layers=1), targets, generator)
    assert perfect["loss"] < 0.1 * random["loss"]
    assert perfect["class_losses"].sum() < 1e-6


def test_frames_without_any_valid_pixel_and_more_targets_than_queries_are_survived():
    maps = labels()
    maps[1] = 255
    targets = targets_from_labels(maps, SIZE)
    assert len(targets[1].classes) == 0
    out = output(queries=2)  # frame 0 has three targets
    learning = [out.predictions.features, *(tensor for layer in out.predictions.layers for tensor in layer)]
    for tensor in learning:
        tensor.requires_grad_()
    losses = Criterion(4, points=20)(out, targets)
    losses["loss"].backward()
    assert torch.isfinite(losses["loss"]) and all(torch.isfinite(tensor.grad).all() for tensor in learning)
    assert losses["indices"].shape == (3, 3, 3)
    empty = Criterion(4, points=20)(out, targets_from_labels(torch.full_like(maps, 255), SIZE))
    assert empty["mask_losses"].sum() == 0 and empty["class_losses"].sum() > 0


def test_only_selected_frames_count():
    out, maps = output(), labels()
    labelled = torch.tensor([True, False, True])
    picked = out.select(labelled)
    assert len(picked.class_logits) == 2 and picked.predictions.masks(0).shape[0] == 2
    assert torch.equal(picked.mask_logits[1], out.mask_logits[2])
    Criterion(4, points=20)(picked, targets_from_labels(maps[labelled], SIZE))


def test_numbers_of_frames_that_differ_and_diverged_logits_are_refused():
    out, targets = output(), targets_from_labels(labels(), SIZE)
    with pytest.raises(ValueError, match="3 frames need as many targets, not 2"):
        Criterion(4, points=20)(out, targets[:2])
    out.predictions.features[1, 0] = float("nan")
    with pytest.raises(ValueError, match="frame 1 are not finite"):
        Criterion(4, points=20)(out, targets)
