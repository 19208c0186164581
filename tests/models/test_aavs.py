"""What AAVS promises apart from parity: shapes, switches, gradients, the recipe's parameter names."""

from __future__ import annotations

import pytest
import torch

from avsctl_models import create_model, semantic_inference

SMALL = {
    "backbone": "resnet10t",
    "image_size": 64,
    "hidden_dim": 32,
    "mask_dim": 32,
    "pixel_decoder": "deformable",
    "pixel_layers": 1,
    "pixel_hidden": 32,
    "decoder_layers": 4,
    "decoder_hidden": 32,
    "audio_hidden": 16,
    "queries": 5,
    "heads": 4,
    "loss_points": 50,
}
SWIN = {
    **SMALL,
    "backbone": "swin_base_patch4_window12_384",
    "backbone_options": {
        "embed_dim": 16,
        "depths": [2, 2, 2, 2],
        "num_heads": [1, 2, 2, 4],
        "window_size": 2,
    },
}


def build(task="avss", preset="tiny", **overrides):
    torch.manual_seed(0)
    return create_model("aavs", preset=preset, task=task, num_classes=4, audio_dim=12, **{**SMALL, **overrides})


def inputs(frames=2):
    generator = torch.Generator().manual_seed(1)
    prior = torch.rand(frames, 20, 20, generator=generator)
    return (
        torch.randn(frames, 3, 64, 64, generator=generator),
        torch.randn(frames, 12, generator=generator),
        prior,
    )


def labels(frames=2):
    maps = torch.zeros(frames, 32, 32, dtype=torch.long)
    maps[:, 4:12, 4:16] = 2
    maps[:, 20:30, 8:24] = 3
    return maps


def test_output_has_the_documented_shapes():
    model = build().eval()
    output = model(*inputs())
    assert output.class_logits.shape == (2, 5, 5)
    assert output.mask_logits.shape == (2, 5, 16, 16)
    assert len(output.predictions) == 5
    assert output.input_size == (64, 64)
    assert output.intermediates is None
    assert semantic_inference(output, (30, 20)).shape == (2, 4, 30, 20)
    assert (model.num_classes, model.audio_dim, model.image_size, model.uses_prior) == (4, 12, 64, True)


def test_frames_do_not_influence_each_other():
    model = build().eval()
    frames, audio, prior = inputs()
    with torch.no_grad():
        together = model(frames, audio, prior).mask_logits[1:]
        alone = model(frames[1:], audio[1:], prior[1:]).mask_logits
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)  # other batch size, other summation order


def test_maps_of_the_backbone_can_be_computed_beforehand():
    model = build().eval()
    frames, audio, prior = inputs()
    with torch.no_grad():
        whole = model(frames, audio, prior, lengths=[1, 1])
        rest = model.from_features(model.backbone(frames), audio, prior, lengths=[1, 1], size=(64, 64))
    assert torch.equal(whole.mask_logits, rest.mask_logits) and rest.input_size == (64, 64)


def test_the_loss_leaves_frames_without_a_label_out():
    model = build().eval()
    frames, audio, prior = inputs(3)
    labelled = torch.tensor([True, False, True])
    maps = labels(3)
    maps[1] = 255
    with torch.no_grad():
        output = model(frames, audio, prior)
        torch.manual_seed(3)
        loss = model.loss(output, maps, labelled, lengths=[3])
        torch.manual_seed(3)
        wanted = model.loss(output.select(labelled), maps[labelled], labelled[labelled])
    assert torch.equal(loss["loss"], wanted["loss"]) and loss["loss"].isfinite()
    with pytest.raises(ValueError, match="at least one"):
        model.loss(output, maps, torch.zeros(3, dtype=torch.bool))


def test_other_frame_sizes_than_the_usual_one_work():
    model = build().eval()
    frames = torch.randn(1, 3, 96, 160)
    output = model(frames, torch.randn(1, 12), torch.rand(1, 9, 7))
    assert output.mask_logits.shape == (1, 5, 24, 40)


@pytest.mark.parametrize(
    "switch",
    [
        {"query": "repeated"},
        {"masked_attention": False},
        {"prior_fusion": False},
        {"prior_mask": False},
        {"prior_keys": False},
        {"pixel_decoder": "fpn"},
    ],
    ids=lambda switch: next(iter(switch)),
)
def test_every_ablation_changes_the_output(switch):
    full, ablated = build().eval(), build(**switch).eval()
    shared = {name: tensor for name, tensor in full.state_dict().items() if name in ablated.state_dict()}
    ablated.load_state_dict(shared, strict=False)
    with torch.no_grad():
        difference = full(*inputs()).mask_logits - ablated(*inputs()).mask_logits
    assert difference.abs().max() > 1e-4


def test_without_a_prior_stage_2_is_the_single_stage_model():
    full = build().eval()
    single = build(prior_fusion=False, prior_mask=False, prior_keys=False).eval()
    state = {name: t for name, t in full.state_dict().items() if not name.startswith("prior_keys")}
    single.load_state_dict(state)
    frames, audio, _ = inputs()
    with torch.no_grad():
        assert torch.equal(full(frames, audio).mask_logits, single(frames, audio).mask_logits)


def test_audio_changes_the_output():
    model = build("avs").eval()
    frames, audio, _ = inputs()
    with torch.no_grad():
        assert not torch.equal(model(frames, audio).mask_logits, model(frames, -audio).mask_logits)


@pytest.mark.parametrize(
    ("task", "overrides"),
    [
        ("avss", {}),
        ("avss", {"pixel_decoder": "fpn"}),
        ("avs", {**SWIN, "adapters": "replace", "backbone_adapters": True}),
        ("avss", {**SWIN, "adapters": "follow", "backbone_adapters": True}),
    ],
    ids=["tiny", "fpn", "stage 1", "stage 2"],
)
def test_gradients_reach_every_trainable_parameter(task, overrides):
    model = build(task, **overrides).train()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # zero initial gains and sampling weights hold gradients back for one step
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    frames, audio, prior = inputs(4)
    output = model(frames, audio, prior if model.uses_prior else None)
    given = labels(4) if task == "avss" else labels(4).clamp(max=1)
    model.loss(output, given, torch.ones(4, dtype=torch.bool))["loss"].backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent


def test_the_paper_s_model_has_the_released_numbers_of_trainable_parameters():
    wanted = {"avs": (709_827, 7_719_491, 113_564_795), "avss": (738_568, 7_748_232, 114_606_016)}
    with torch.device("meta"):  # counting needs no values
        for task, counts in wanted.items():
            model = create_model("aavs", preset="swin-b-384", task=task)
            sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
            trained = [sum(sizes[name] for name in model.trainable_names(phase)) for phase in (1, 2)]
            assert (*trained, sum(sizes.values())) == counts


def test_phases_of_the_recipe_name_what_they_train():
    first = build("avs", **SWIN, adapters="replace", backbone_adapters=True)
    second = build("avss", **SWIN, adapters="follow", backbone_adapters=True)
    assert "queries.features" in first.trainable_names(1)
    assert "queries.features" not in second.trainable_names(1)
    assert "prior_keys.embeddings" in second.trainable_names(1)
    assert not [name for name in second.trainable_names(1) if name.startswith("backbone.")]
    added = set(second.trainable_names(2)) - set(second.trainable_names(1))
    assert added and all(name.startswith("backbone.") and ".adapter." in name for name in added)
    with pytest.raises(ValueError, match="phase must be 1 or 2"):
        first.trainable_names(3)


def test_a_model_without_adapters_trains_all_its_weights():
    model = build()
    assert model.trainable_names(1) == [name for name, _ in model.named_parameters()]


def test_zero_adapters_leave_the_backbone_as_it_was():
    adapted = build("avs", **SWIN, adapters="replace", backbone_adapters=True).eval()
    plain = build("avs", **SWIN).eval()
    state = {
        name.replace(".projection.", "."): tensor
        for name, tensor in adapted.backbone.state_dict().items()
        if ".adapter." not in name
    }
    plain.backbone.load_state_dict(state)
    frames = inputs()[0]
    with torch.no_grad():
        wanted = plain.backbone(frames)[3]
        assert not torch.equal(adapted.backbone(frames)[3], wanted)
        adapted.zero_backbone_adapters()
        assert torch.equal(adapted.backbone(frames)[3], wanted)
        adapted.reset_backbone_adapters()
        assert not torch.equal(adapted.backbone(frames)[3], wanted)


def test_stochastic_depth_drops_attention_branches_only_and_by_the_same_rate_everywhere():
    model = build("avs", **SWIN, drop_path=0.3)
    blocks = [block for layer in model.backbone.layers for block in layer.blocks]
    assert {block.drop_path1.drop_prob for block in blocks} == {0.3}
    assert all(isinstance(block.drop_path2, torch.nn.Identity) for block in blocks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": torch.zeros(2, 64, 64, 3)}, r"frames must be \(N, 3, H, W\)"),
        ({"audio": None}, r"audio must be \(2, 12\)"),
        ({"audio": torch.zeros(2, 128)}, r"audio must be \(2, 12\), not \(2, 128\)"),
        ({"prior": torch.zeros(1, 8, 8)}, r"prior must be \(2, h, w\)"),
        ({"lengths": [1, 2]}, r"lengths must be positive and sum to 2 frames, not \[1, 2\]"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(change, message):
    frames, audio, prior = inputs()
    given = {"frames": frames, "audio": audio, "prior": prior, **change}
    with pytest.raises(ValueError, match=message):
        build()(**given)


def test_a_prior_for_a_model_without_use_for_it_is_refused():
    with pytest.raises(ValueError, match="without any use of a prior"):
        build("avs")(*inputs())
