"""Lower precisions: close to float32, and the weights stay what they are."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from avsctl.inference import class_maps, decide
from avsctl.number_formats import in_format
from avsctl_models import create_model

MODELS = ["aavs", "tpavi", "avsegformer"]


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    """A small untrained model of stage 2."""
    torch.manual_seed(0)
    return create_model(
        request.param, preset="tiny", task="avss", num_classes=5, audio_dim=128, image_size=64
    )


def clip(seed: int = 1):
    """Frames, sound, prior and labels of five frames."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (5, 3, 64, 64), generator=generator, dtype=torch.uint8)
    labels = torch.zeros(5, 64, 64, dtype=torch.uint8)
    labels[:, :30, :30] = 3
    prior = (torch.rand(5, 16, 16, generator=generator) > 0.5).float()
    return frames, torch.randn(5, 128, generator=generator), prior, labels


def gradients(model, precision):
    """Loss, and the gradients of all weights that have one, as one vector."""
    frames, audio, prior, labels = clip()
    model.zero_grad(set_to_none=True)
    model.eval()  # nothing is drawn but the loss's points
    output = in_format(model, precision, partial(model, model.normalize(frames), audio, prior))
    loss = model.loss(output, labels, torch.ones(5, dtype=torch.bool), seeds=[0] * 5)["loss"]
    loss.backward()
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(grad.dtype == torch.float32 for grad in grads)
    return float(loss.detach()), torch.cat([grad.flatten() for grad in grads])


def test_bf16_gives_nearly_the_maps_of_float32(model):
    frames, audio, prior, _ = clip()
    model.eval()
    exact = class_maps(model, frames, audio, prior, size=64)
    low = class_maps(model, frames, audio, prior, size=64, precision="bf16")
    assert low.dtype == torch.float32 and not torch.equal(low, exact)
    assert (low - exact).abs().max() < 0.06 * exact.abs().max()
    assert (decide(low) == decide(exact)).float().mean() > 0.9  # an untrained model's classes lie close together


def test_bf16_gives_nearly_the_gradients_of_float32(model):
    (loss, exact), (low_loss, low) = gradients(model, "fp32"), gradients(model, "bf16")
    assert low_loss == pytest.approx(loss, rel=0.02) and low_loss != loss
    assert torch.nn.functional.cosine_similarity(exact, low, dim=0) > 0.95


def test_weights_stay_float32_and_converted_ones_follow_them(model):
    frames, audio, prior, _ = clip()
    model.eval()
    maps = partial(class_maps, model, frames, audio, prior, size=64, precision="bf16")
    before, state = maps(), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert torch.equal(maps(), before)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.3)
    changed = maps()
    assert not torch.equal(changed, before)
    model.load_state_dict(state)
    assert torch.equal(maps(), before)


def test_converted_weights_follow_data_that_is_put_in_their_place(model):
    frames, audio, prior, _ = clip()
    model.eval()
    maps = partial(class_maps, model, frames, audio, prior, size=64, precision="bf16")
    before, state = maps(), {name: parameter.data for name, parameter in model.named_parameters()}
    for parameter in (one for one in model.parameters() if one.ndim > 1):  # those of norms aren't converted
        parameter.data = 1.3 * parameter.data
    assert not torch.equal(maps(), before)
    for name, parameter in model.named_parameters():
        parameter.data = state[name]
    assert torch.equal(maps(), before)


def test_training_goes_on_after_prediction_with_the_same_copies(model):
    for parameter in model.backbone.parameters():
        parameter.requires_grad_(False)
    frames, audio, prior, _ = clip()
    class_maps(model, frames, audio, prior, size=64, precision="bf16")
    loss, grads = gradients(model, "bf16")
    assert math.isfinite(loss) and grads.any()
    model.requires_grad_(True)
