"""The peer computes what AAVS computes, and trains the same."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from avsctl.bench import models, training_step
from avsctl.bench.harness import UnequalWork
from avsctl.bench.models import Pair, check_same_function, make_batch, make_pair, training_config
from avsctl.bench.parts import shares
from avsctl.bench.peer import make_peer
from avsctl_models import create_model
from avsctl_models.decoders import masked_attention
from avsctl_models.losses import Criterion

pytest.importorskip("transformers")

SMALL_SWIN = {
    "image_size": 64,
    "backbone": "swin_tiny_patch4_window7_224",
    "backbone_options": {"embed_dim": 8, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 4], "window_size": 2},
    "hidden_dim": 32,
    "mask_dim": 32,
    "pixel_layers": 1,
    "pixel_hidden": 32,
    "heads": 4,
    "decoder_layers": 2,
    "decoder_hidden": 32,
    "audio_hidden": 16,
    "queries": 6,
    "loss_points": 2048,
}


@pytest.fixture(scope="module")
def swin_pair():
    """The paper's model but small, with adapters that do something everywhere."""
    torch.manual_seed(3)
    model = create_model("aavs", preset="swin-b-384", num_classes=2, **SMALL_SWIN)
    names = set(model.trainable_names(1))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    for adapter in model.backbone.adapters():
        adapter.reset(std=0.3)
    return Pair(model, make_peer(model), training_config("swin-b-384"), torch.optim.SGD([model.queries.positions]))


@pytest.fixture(scope="module")
def tiny_pair():
    return make_pair("tiny")


@pytest.mark.parametrize("pair", ["swin_pair", "tiny_pair"])
def test_outputs_losses_and_numbers_of_trained_parameters_agree(pair, request):
    pair = request.getfixturevalue(pair)
    assert "trained parameters" in check_same_function(pair, make_batch(2, pair.model.image_size))
    assert pair.model.training and pair.peer.training


def test_a_frame_may_differ_only_where_rounding_can_turn_a_pixel_of_an_attention_mask(tiny_pair, monkeypatch):
    plain, batch = masked_attention._blocked, make_batch(30, tiny_pair.model.image_size)
    turned = []

    def turn(embeddings, features):
        """Turn one pixel of one frame: the one whose logit is nearest to its threshold."""
        blocked, logits = plain(embeddings, features), (embeddings @ features).abs()
        if not turned:
            at = tuple(int(i) for i in torch.unravel_index(logits.argmin(), logits.shape))
            turned.append(float(logits[at] / logits[at[0]].max()))
            blocked[at] = ~blocked[at]
        return blocked

    monkeypatch.setattr(masked_attention, "_blocked", turn)
    with pytest.raises(UnequalWork, match="outputs"):
        check_same_function(tiny_pair, batch)
    assert turned[0] > models.TURNS  # much more than rounding
    monkeypatch.setattr(models, "TURNS", 1.01 * turned.pop())
    assert "outputs of 29 of 30 frames" in check_same_function(tiny_pair, batch)


@pytest.mark.parametrize("part", ["adapter.up.weight", "sampling_offsets.weight", "queries_embedder.weight"])
def test_a_peer_that_computes_something_else_is_refused(swin_pair, part):
    parameter = next(p for name, p in swin_pair.peer.named_parameters() if name.endswith(part))
    before = parameter.detach().clone()
    try:
        with torch.no_grad():
            parameter.add_(10 * torch.randn_like(parameter))
        with pytest.raises(UnequalWork, match="outputs"):
            check_same_function(swin_pair, make_batch(2, 64))
    finally:
        with torch.no_grad():
            parameter.copy_(before)


def test_a_peer_that_would_train_something_else_is_refused():
    model = create_model("aavs", preset="swin-b-384", num_classes=2, **SMALL_SWIN)
    for name, parameter in model.named_parameters():  # the peer's backbone stays frozen
        parameter.requires_grad_(name.startswith("backbone."))
    with pytest.raises(UnequalWork, match="number of trained parameters"):
        make_peer(model)


def test_the_shares_of_a_step_are_those_of_its_parts(tiny_pair):
    model, peer = tiny_pair.model, tiny_pair.peer
    ours, theirs = training_step._sides(tiny_pair, make_batch(2, model.image_size), "fp32")
    parts = {"backbone": model.backbone, "pixel decoder": model.pixel_decoder, "decoder": model.decoder}
    for side in (
        shares(ours, parts, (Criterion, "_match")),
        shares(theirs, peer.parts, (peer.network.criterion.matcher, "forward")),
    ):
        assert sum(side.values()) == pytest.approx(1, abs=0.05)
        assert min(side.values()) > 0
        assert set(side) == {"backbone", "pixel decoder", "decoder", "matcher", "loss"}


def test_the_published_recipe_freezes_the_same_as_training_does():
    config = training_config("swin-b-384")
    assert dataclasses.asdict(config)["schedule"] == "two-phase"
    assert training_config("tiny").pixel_decoder == "deformable"
