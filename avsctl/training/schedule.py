"""What trains when, and how fast: in two phases, at a constant rate, or all weights from scratch."""

from __future__ import annotations

import math

import torch
from timm.layers import DropPath

from avsctl.configs import TrainConfig
from avsctl_models import SegmentationModel


def phase_of(epoch: int, config: TrainConfig) -> int:
    """1 or 2; training that freezes nothing at first has one phase."""
    if config.schedule == "two-phase":
        return 1 if epoch < int(config.epochs * config.phase1_share) else 2
    return 2 if config.schedule == "constant" and 0 < config.frozen_epochs <= epoch else 1


def learning_rate(step: int, total_steps: int, phase: int, config: TrainConfig) -> float:
    """The rate of a step: constant in each phase, or warm-up and cosine decay to a hundredth (`scratch`)."""
    if config.schedule == "two-phase":
        return config.lr if phase == 1 else config.lr_phase2
    if config.schedule == "constant":
        return config.lr
    warm = max(1, int(total_steps * config.warmup))
    if step < warm:
        return config.lr * (step + 1) / warm
    progress = (step - warm) / max(1, total_steps - warm)
    return config.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def set_phase(
    model: SegmentationModel, phase: int, config: TrainConfig, before: torch.optim.Optimizer | None = None
) -> torch.optim.Optimizer:
    """Freeze what the phase leaves as it is and make the phase's own optimiser.

    In phase 1 of `two-phase` the backbone's adapters are zero, so that the backbone is the pretrained one; phase 2
    draws them anew.

    A backbone frozen throughout has its adapters at zero, unless they come with --init-from.

    Args:
        before: the optimiser of the phase before, whose moments a `constant` schedule keeps.
    Source: the released training codes of Stepping Stones, AVSBench and AVSegFormer.
    """
    names = _trained_names(model, phase, config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    if config.freeze_backbone:
        if not config.init_from:
            model.zero_backbone_adapters()
    elif config.schedule == "two-phase":
        if phase == 1:
            model.zero_backbone_adapters()
        else:
            model.reset_backbone_adapters()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimizer]
    optimizer = kind(trained, lr=config.lr, weight_decay=config.weight_decay)
    if before is not None and config.schedule == "constant":
        optimizer.state.update(before.state)
    return optimizer


def _trained_names(model: SegmentationModel, phase: int, config: TrainConfig) -> set[str]:
    names = {name for name, _ in model.named_parameters()}
    if config.schedule == "two-phase":
        names = set(model.trainable_names(phase))
    if config.freeze_backbone or (config.schedule == "constant" and phase == 1 and config.frozen_epochs):
        return {name for name in names if not name.startswith("backbone.")}
    return names


def backbone_is_frozen(model: SegmentationModel) -> bool:
    """Whether nothing of the backbone is trained in the phase that was set."""
    return not any(parameter.requires_grad for parameter in model.backbone.parameters())


def set_training_mode(model: SegmentationModel, config: TrainConfig) -> None:
    """Put the model in training mode, but for what must not move in a frozen backbone."""
    model.train()
    if not backbone_is_frozen(model):
        return
    if config.freeze_backbone or config.cache_features != "none":
        model.backbone.eval()
    elif config.frozen_drop_path == "0":
        for module in model.backbone.modules():
            if isinstance(module, DropPath):
                module.eval()


def epoch_batches(clips: int, config: TrainConfig, epoch: int, seed: int) -> list[list[int]]:
    """The clips of every step of an epoch; the order depends on the seed and the epoch alone."""
    order = list(range(clips))
    if config.shuffle:
        generator = torch.Generator().manual_seed(seed + epoch)
        order = torch.randperm(clips, generator=generator).tolist()
    batches = [order[start : start + config.batch_clips] for start in range(0, clips, config.batch_clips)]
    return batches[: config.max_steps]
