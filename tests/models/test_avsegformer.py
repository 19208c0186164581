"""What AVSegFormer promises apart from parity: frames alone, gradients, its losses, its errors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from avsctl_models import create_model, load_model, save_model

SMALL = {
    "image_size": 64,
    "backbone": "resnet10t",
    "hidden_dim": 16,
    "heads": 2,
    "queries": 5,
    "mask_hidden": 12,
    "head_hidden": [16, 8],
}


def build(task="avss", **overrides):
    torch.manual_seed(0)
    given = {"num_classes": None if task == "avs" else 4, "audio_dim": 12, **SMALL, **overrides}
    return create_model("avsegformer", preset="tiny", task=task, **given)


def inputs(frames=2):
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(frames, 3, 64, 64, generator=generator),
        torch.randn(frames, 12, generator=generator),
        torch.rand(frames, 20, 20, generator=generator),
    )


def labels(frames=2):
    maps = torch.zeros(frames, 64, 64, dtype=torch.uint8)
    maps[:, 8:24, 8:32] = 1
    return maps


@pytest.mark.parametrize("count", [1, 3])
def test_output_has_the_documented_shapes(count):
    model = build().eval()
    output = model(*inputs(count), lengths=[count], intermediates=True)
    assert output.logits.shape == (count, 4, 64, 64)
    assert [tuple(m.shape) for m in output.maps] == [(count, 16, 16, 16)]
    assert output.intermediates["memory"].shape == (count, 64 + 16 + 4, 16)
    assert output.intermediates["masks"].shape == (count, 5, 16, 16)
    assert (model.audio_dim, model.num_classes, model.image_size, model.uses_prior) == (12, 4, 64, True)
    binary = build("avs").eval()
    assert binary(*inputs(count)[:2]).logits.shape == (count, 1, 64, 64)
    assert (binary.num_classes, binary.uses_prior) == (2, False)


def test_frames_do_not_influence_each_other():
    model = build().eval()
    frames, audio, prior = inputs(3)
    with torch.no_grad():
        together = model(frames, audio, prior).logits[1:]
        alone = model(frames[1:], audio[1:], prior[1:], lengths=[1, 1]).logits
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)  # other batch size, other summation order


def test_audio_changes_the_output():
    model = build().eval()
    frames, audio, _ = inputs()
    with torch.no_grad():
        assert (model(frames, audio).logits - model(frames, audio.flip(0)).logits).abs().max() > 1e-4
        assert torch.equal(model(frames, audio).logits, model(frames, audio.relu()).logits)
        signed = build(audio_relu=False).eval()
        assert not torch.equal(signed(frames, audio).logits, signed(frames, audio.relu()).logits)


@pytest.mark.parametrize("task", ["avs", "avss"])
def test_gradients_reach_every_parameter(task):
    model = build(task).train()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # zero initial gains and sampling weights hold gradients back for one step
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    frames, audio, prior = inputs(4)
    output = model(frames, audio, prior if model.uses_prior else None)
    losses = model.loss(output, labels(4), torch.tensor([True, False, True, True]))
    losses["loss"].backward()
    assert set(losses) == {"loss", "loss_mask", "loss_mix"}
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # one key for all queries, so that what they ask it makes no difference
    unheard = ("cross_attention.query.weight", "cross_attention.key.weight")
    assert all(name.startswith("generator.layers.") and name.endswith(unheard) for name in silent)


def test_the_loss_ignores_unlabelled_frames_and_pixels():
    for task in ("avs", "avss"):
        model = build(task).eval()
        frames, audio, _ = inputs(3)
        labelled, given = torch.tensor([True, False, True]), labels(3)
        given[2, :, 40:] = 255
        with torch.no_grad():
            output = model(frames, audio)
            before = model.loss(output, given, labelled)
            given[1] = 1
            output.logits[2, :, :, 40:] += 3
            after = model.loss(output, given, labelled)
        torch.testing.assert_close(after["loss"], before["loss"])
    with pytest.raises(ValueError, match="needs at least one"):
        model.loss(output, given, torch.zeros(3, dtype=torch.bool))


def test_dice_and_cross_entropy_are_as_written():
    output = build("avs").eval()(*inputs()[:2])
    p, y = output.logits[:, 0].sigmoid(), (labels() > 0).float()
    dice = 1 - 2 * (p * y).sum((1, 2)) / ((p**2).sum((1, 2)) + y.sum((1, 2)) + 0.002)
    everywhere = torch.ones(2, dtype=torch.bool)
    torch.testing.assert_close(build("avs").loss(output, labels(), everywhere)["loss_mask"], dice.mean())
    bce = F.binary_cross_entropy(p, y)
    torch.testing.assert_close(build("avs", mask_loss="bce").loss(output, labels(), everywhere)["loss_mask"], bce)


def test_the_prior_is_added_to_the_mixed_mask_features():
    model = build().eval()
    frames, audio, prior = inputs()
    with torch.no_grad():
        output = model(frames, audio, prior, intermediates=True)
    inner = output.intermediates
    resized = F.interpolate(prior[:, None], (16, 16), mode="bilinear")
    expected = inner["mask_features_mixed"] + resized
    torch.testing.assert_close(inner["mask_features_with_prior"], expected)
    assert output.maps[0] is inner["mask_features_with_prior"]
    with pytest.raises(ValueError, match="without any use of a prior"):
        build(prior_fusion=False)(frames, audio, prior)


def test_a_saved_model_comes_back(tmp_path):
    model = build().eval()
    again = load_model(save_model(model, tmp_path / "model.safetensors"))
    given = inputs()
    with torch.no_grad():
        assert torch.equal(again(*given).logits, model(*given).logits)


def test_dropout_acts_in_training_only():
    model = build(dropout=0.5)
    rates = {name: m.p for name, m in model.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert {rate for name, rate in rates.items() if name.startswith("generator.")} == {0.0}
    assert {rate for name, rate in rates.items() if not name.startswith(("generator.", "backbone."))} == {0.5}
    assert {layer.cross_attention.dropout for layer in model.layers} == {0.5}
    shapes = zip(model.backbone.channels, (16, 8, 4, 2), strict=True)
    features, sound = [torch.randn(1, c, side, side) for c, side in shapes], torch.randn(1, 12)
    with torch.no_grad():
        for training in (False, True):
            model.train(training)
            first, second = (model.from_features(features, sound, size=(64, 64)).logits for _ in range(2))
            assert torch.equal(first, second) is not training


def test_the_published_sizes_have_the_released_numbers_of_parameters():
    # of the released 186.05 M and 150.90 M, less VGGish and what they hold and never use, see the importer
    with torch.device("meta"):
        for preset, count in (("pvt", 111_810_112), ("r50", 54_596_032)):
            model = create_model("avsegformer", preset=preset)
            assert sum(parameter.numel() for parameter in model.parameters()) == count
            assert model.image_size == 512
        assert create_model("avsegformer", preset="pvt", task="avss").image_size == 224


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio_dim": None}, "makes its queries from sound"),
        ({"mask_loss": "focal"}, "mask_loss must be one of dice, bce"),
        ({"image_size": 100}, "multiples of 32"),
        ({"heads": 3}, "3 heads do not divide 16"),
        ({"querys": 3}, "avsegformer has no setting 'querys'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build(**change)
