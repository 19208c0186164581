"""What trains when, and how fast: the released two phases, or all weights from scratch."""

from __future__ import annotations

import math

import torch

from avsctl.configs import TrainConfig
from avsctl_models import SegmentationModel


def phase_of(epoch: int, config: TrainConfig) -> int:
    """1 or 2; training from scratch has one phase."""
    if config.schedule == "scratch":
        return 1
    return 1 if epoch < int(config.epochs * config.phase1_share) else 2


def learning_rate(step: int, total_steps: int, phase: int, config: TrainConfig) -> float:
    """The rate of a step: constant in each of the two phases, else warm-up and cosine decay to a hundredth."""
    if config.schedule == "two-phase":
        return config.lr if phase == 1 else config.lr_phase2
    warm = max(1, int(total_steps * config.warmup))
    if step < warm:
        return config.lr * (step + 1) / warm
    progress = (step - warm) / max(1, total_steps - warm)
    return config.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def set_phase(model: SegmentationModel, phase: int, config: TrainConfig) -> torch.optim.Optimizer:
    """Freeze what the phase leaves as it is and make the phase's own optimiser.

    In phase 1 the backbone's adapters are zero, so that the backbone is the pretrained one; phase 2 draws them anew.
    Source: the released training code of Stepping Stones (AdamW, weight decay on every trained tensor).
    """
    names = set(model.trainable_names(phase)) if config.schedule == "two-phase" else None
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(names is None or name in names)
    if config.schedule == "two-phase":
        if phase == 1:
            model.zero_backbone_adapters()
        else:
            model.reset_backbone_adapters()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=config.lr, weight_decay=config.weight_decay)


def epoch_batches(clips: int, config: TrainConfig, epoch: int, seed: int) -> list[list[int]]:
    """The clips of every step of an epoch; the order depends on the seed and the epoch alone."""
    order = list(range(clips))
    if config.shuffle:
        generator = torch.Generator().manual_seed(seed + epoch)
        order = torch.randperm(clips, generator=generator).tolist()
    batches = [order[start : start + config.batch_clips] for start in range(0, clips, config.batch_clips)]
    return batches[: config.max_steps]
