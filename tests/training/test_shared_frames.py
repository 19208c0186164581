"""A picture that is shown with several sounds goes through a frozen backbone once, and nothing else changes."""

from __future__ import annotations

import pytest
import torch

from avsctl.configs import resolve_training
from avsctl.data.samples import Batch
from avsctl.training import step
from avsctl.training.schedule import set_phase, set_training_mode
from avsctl.training.shared_frames import is_steady, shared_maps
from avsctl.training.step import Gradients
from avsctl_models import create_model

SMALL_SWIN = {
    "image_size": 64,
    "backbone_options": {"embed_dim": 16, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 2, 4), "window_size": 2},
    "hidden_dim": 32, "mask_dim": 32, "pixel_layers": 1, "pixel_hidden": 32, "decoder_layers": 2, "heads": 4,
    "decoder_hidden": 32, "audio_hidden": 32, "queries": 5, "loss_points": 64,
}  # fmt: skip


def frozen(**given):
    """The published model in small, in phase 1."""
    torch.manual_seed(0)
    model = create_model("aavs", preset="swin-b-384", task="avs", audio_dim=8, **SMALL_SWIN)
    config = resolve_training("avs", "swin-b-384", "s4", given)
    optimizer = set_phase(model, 1, config)
    set_training_mode(model, config)
    return model, config, optimizer


def repeated(clips: int = 2) -> Batch:
    """Clips of one picture five times, with five sounds each."""
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randint(256, (clips, 3, 64, 64), dtype=torch.uint8, generator=generator)
    labels = torch.zeros(clips, 64, 64, dtype=torch.uint8)
    labels[:, 10:40, 20:50] = 1
    return Batch(
        uids=[f"c{i}" for i in range(clips)],
        subsets=["s4"] * clips,
        lengths=[5] * clips,
        frames=pictures.repeat_interleave(5, 0),
        audio=torch.randn(5 * clips, 8, generator=generator),
        labels=labels.repeat_interleave(5, 0),
        labelled=torch.ones(5 * clips, dtype=torch.bool),
        prior=None,
    )


def learnt(batch: Batch, **given) -> tuple[dict[str, float], dict[str, torch.Tensor], int]:
    """Loss and gradients of a step, and how many pictures the backbone saw."""
    model, config, optimizer = frozen(**given)
    seen = []
    model.backbone.patch_embed.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    values = Gradients(model, optimizer, config, (0, 0)).compute(batch).values
    gradients = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    return values, gradients, sum(seen)


def test_the_loss_and_all_gradients_are_those_of_five_passes(monkeypatch):
    shared, gradients, seen = learnt(repeated(), frozen_drop_path="0")
    assert seen == 2
    monkeypatch.setattr(step, "shared_maps", lambda model, frames: [])
    plain, expected, seen = learnt(repeated(), frozen_drop_path="0")
    assert seen == 10
    assert shared == pytest.approx(plain, rel=1e-5)
    assert gradients.keys() == expected.keys() and gradients
    for name, gradient in gradients.items():
        # Sums over ten frames and over two are rounded in another order.
        scale = expected[name].abs().max().item()
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5 * scale, msg=name)


def test_with_five_equal_sounds_repeat_is_labelled_five_times():
    """What differs between the two ways to read a clip is the sound alone: the gradient is the mean of five."""
    model, *_ = frozen(frozen_drop_path="0")
    batch = repeated(1)
    sounds = batch.audio[:1].expand(5, -1)
    with torch.no_grad():
        once = model(model.normalize(batch.frames[:1]), batch.audio[:1])
        many = model.from_features(shared_maps(model, batch.frames), sounds, size=(64, 64))
        heard = model.from_features(shared_maps(model, batch.frames), batch.audio, size=(64, 64))
    torch.testing.assert_close(many.mask_logits, once.mask_logits.expand(5, -1, -1, -1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(heard.mask_logits[:1], once.mask_logits, rtol=1e-4, atol=1e-5)
    assert (heard.mask_logits[1] - once.mask_logits[0]).abs().max() > 1e-3


def test_other_pictures_and_random_depth_are_not_shared():
    assert learnt(repeated(), frozen_drop_path="own")[2] == 10
    model, *_ = frozen(frozen_drop_path="0")
    batch = repeated()
    assert shared_maps(model, batch.frames[::5]) == []
    frames = batch.frames[[0, 0, 5, 0]]
    assert [len(level) for level in shared_maps(model, frames)] == [4] * 4
    for level, expected in zip(shared_maps(model, frames), model.backbone(model.normalize(frames)), strict=True):
        torch.testing.assert_close(level, expected, rtol=1e-4, atol=1e-5)


def test_a_backbone_that_learns_or_counts_is_not_steady():
    model, *_ = frozen(frozen_drop_path="0")
    assert is_steady(model.backbone)
    next(model.backbone.parameters()).requires_grad_(True)
    assert not is_steady(model.backbone)
    tiny = create_model("aavs", preset="tiny", task="avs", image_size=64).requires_grad_(False)
    assert not is_steady(tiny.train().backbone)  # batch norms
    assert is_steady(tiny.eval().backbone)
