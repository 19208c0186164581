from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avsctl.configs import resolve_training
from avsctl.training.schedule import (
    backbone_is_frozen,
    epoch_batches,
    learning_rate,
    phase_of,
    set_phase,
    set_training_mode,
)
from avsctl_models import create_model

SWIN = {
    "image_size": 96,
    "backbone_options": {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 4, 8), "window_size": 3},
    "hidden_dim": 32,
    "mask_dim": 32,
}


@pytest.mark.parametrize("task, switch", [("avs", 15), ("avss", 10)])
def test_the_released_recipe_switches_phase_after_a_half_or_a_third(task, switch):
    config = resolve_training(task, "swin-b-384", "s4", {})
    assert config.epochs == 30
    assert [phase_of(epoch, config) for epoch in (switch - 1, switch)] == [1, 2]
    assert [learning_rate(0, 100, phase, config) for phase in (1, 2)] == [1e-3, 1e-4]


def test_the_rate_rises_then_falls_to_a_hundredth():
    config = replace(resolve_training("avs", "tiny", "all", {}), warmup=0.1)
    rates = [learning_rate(step, 1000, 1, config) for step in range(1000)]
    assert max(rates) == pytest.approx(config.lr)
    assert rates.index(max(rates)) in (99, 100)
    assert rates[-1] == pytest.approx(config.lr / 100, rel=0.01)


@pytest.mark.parametrize("task", ["avs", "avss"])
def test_phases_train_adapters_and_leave_the_pretrained_weights(task):
    model = create_model("aavs", preset="swin-b-384", task=task, **SWIN)
    config = resolve_training(task, "swin-b-384", "all", {})
    set_phase(model, 1, config)
    first = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith("backbone") for name in first) and any(".adapter." in name for name in first)
    assert all(not parameter.any() for adapter in model.backbone.adapters() for parameter in adapter.parameters())
    set_phase(model, 2, config)
    second = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    new = second - first
    assert first < second and all(name.startswith("backbone") and ".adapter." in name for name in new)
    assert any(parameter.any() for adapter in model.backbone.adapters() for parameter in adapter.parameters())


def test_the_order_of_clips_depends_on_seed_and_epoch_alone():
    config = resolve_training("avs", "tiny", "all", {"batch_clips": 4})
    assert epoch_batches(10, config, 2, 5) == epoch_batches(10, config, 2, 5)
    assert epoch_batches(10, config, 2, 5) != epoch_batches(10, config, 3, 5)
    assert sorted(sum(epoch_batches(10, config, 2, 5), [])) == list(range(10))
    plain = replace(config, shuffle=False)
    assert epoch_batches(10, plain, 7, 5) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_training_from_scratch_trains_everything():
    model = create_model("aavs", preset="tiny", image_size=64)
    optimizer = set_phase(model, 1, resolve_training("avs", "tiny", "all", {}))
    assert len(optimizer.param_groups[0]["params"]) == len(list(model.parameters()))
    assert isinstance(optimizer, torch.optim.AdamW)


def test_a_constant_schedule_frees_the_backbone_after_its_first_epochs_and_keeps_the_moments():
    model = create_model("aavs", preset="tiny", image_size=64)
    given = {"schedule": "constant", "epochs": 4, "frozen_epochs": 2, "optimizer": "adam"}
    config = resolve_training("avs", "tiny", "all", given)
    assert [phase_of(epoch, config) for epoch in range(4)] == [1, 1, 2, 2]
    assert {learning_rate(step, 4, phase, config) for step in range(4) for phase in (1, 2)} == {config.lr}
    first = set_phase(model, 1, config)
    assert type(first) is torch.optim.Adam
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {f"backbone.{name}" for name, _ in model.backbone.named_parameters()}
    model.queries.positions.grad = torch.ones_like(model.queries.positions)
    first.step()
    second = set_phase(model, 2, config, before=first)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert second.state[model.queries.positions]["step"] == 1
    assert [phase_of(epoch, replace(config, frozen_epochs=0)) for epoch in range(4)] == [1] * 4


@pytest.mark.parametrize("schedule, phase", [("scratch", 1), ("two-phase", 2), ("constant", 2)])
@pytest.mark.parametrize("name", ["aavs", "tpavi", "avsegformer"])
def test_a_backbone_frozen_throughout_neither_trains_nor_counts(name, schedule, phase):
    model = create_model(name, preset="tiny", image_size=64)
    config = resolve_training(
        "avs", "tiny", "all", {"model": name, "schedule": schedule, "frozen_epochs": 1, "freeze_backbone": True}
    )
    optimizer = set_phase(model, phase, config)
    set_training_mode(model, config)
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    output = model(torch.randn(2, 3, 64, 64), torch.randn(2, 128))
    labels = torch.zeros(2, 64, 64, dtype=torch.uint8)
    labels[:, :30] = 1
    model.loss(output, labels, torch.ones(2, dtype=torch.bool))["loss"].backward()
    optimizer.step()
    assert backbone_is_frozen(model)
    assert all(torch.equal(value, before[key]) for key, value in model.backbone.state_dict().items())
    assert any(parameter.grad is not None for parameter in model.parameters())


def test_a_frozen_swin_has_no_adapters_at_work():
    model = create_model("aavs", preset="swin-b-384", task="avs", **SWIN)
    config = resolve_training("avs", "swin-b-384", "all", {"freeze_backbone": True})
    for phase in (1, 2):
        set_phase(model, phase, config)
        assert backbone_is_frozen(model)
        assert not any(parameter.any() for adapter in model.backbone.adapters() for parameter in adapter.parameters())


@pytest.mark.parametrize("drop_path, same", [("own", False), ("0", True)])
def test_a_frozen_backbone_skips_blocks_at_random_unless_told_not_to(drop_path, same):
    torch.manual_seed(0)
    model = create_model("aavs", preset="swin-b-384", task="avs", **SWIN)
    config = resolve_training("avs", "swin-b-384", "all", {"frozen_drop_path": drop_path})
    set_phase(model, 1, config)
    set_training_mode(model, config)
    frames = torch.randn(4, 3, 96, 96)
    assert torch.equal(model.backbone(frames)[-1], model.backbone(frames)[-1]) is same
    set_phase(model, 2, config)
    set_training_mode(model, config)
    assert not torch.equal(model.backbone(frames)[-1], model.backbone(frames)[-1])
