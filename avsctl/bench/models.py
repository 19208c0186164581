"""Both sides of the items that time the network: AAVS, its peer, and what they look at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avsctl.bench.harness import require_equal
from avsctl.bench.peer import Peer, make_peer
from avsctl.configs import LABEL_SIZE, TrainConfig, resolve_training
from avsctl.data.samples import Batch
from avsctl.stages.train import model_settings
from avsctl.training.schedule import set_phase, set_training_mode
from avsctl_models import SegmentationOutput, create_model, targets_from_labels
from avsctl_models.aavs import AAVS
from avsctl_models.decoders.masked_attention import LEVELS, resized

AUDIO_DIM = 128
PAPER = "swin-b-384"
FRAMES = {"swin-b-384": 5, "tiny": 40}
QUICK_FRAMES = {"swin-b-384": 1, "tiny": 10}
"""In one call: a clip, and for `tiny` the eight clips of its recipe."""
AGREEMENT = 1e-4
"""Largest difference of the two outputs, as a share of their largest value."""
ALIKE = 0.95
"""Least share of frames that agree so. The others may differ where rounding can turn a pixel of an attention mask."""
TURNS = 3e-6
"""Largest logit of such a pixel, as a share of the frame's largest: twice what the two sides' logits differ by."""
LOSS_AGREEMENT = 0.02
"""Largest relative difference of the two losses, which are taken at different random points."""


@dataclass
class Pair:
    """AAVS in phase 1 of its recipe's stage 1, and its peer with the same weights and the same parts frozen."""

    model: AAVS
    peer: Peer
    config: TrainConfig
    optimizer: torch.optim.Optimizer


def training_config(preset: str, **given: object) -> TrainConfig:
    """The recipe of stage 1 on S4; `tiny` gets the pixel decoder that the peer has."""
    if preset == "tiny":
        given["pixel_decoder"] = "deformable"
    return resolve_training("avs", preset, "s4", given)


def make_model(config: TrainConfig) -> tuple[AAVS, torch.optim.Optimizer]:
    """Random weights, phase 1: for the paper's size only adapters, queries and heads train, for `tiny` everything."""
    torch.manual_seed(0)
    model = create_model(
        config.model, preset=config.preset, task="avs", num_classes=2, audio_dim=AUDIO_DIM, **model_settings(config)
    )
    assert isinstance(model, AAVS)
    optimizer = set_phase(model, 1, config)
    set_training_mode(model, config)
    return model, optimizer


def make_pair(preset: str) -> Pair:
    """Both sides, in training mode."""
    config = training_config(preset)
    model, optimizer = make_model(config)
    return Pair(model, make_peer(model).train(), config, optimizer)


def make_trained_pair(preset: str) -> Pair:
    """Both sides in evaluation mode, with backbone adapters that add something, as phase 2 leaves them.

    In phase 1 they are zero, which saves AAVS their computation.
    """
    config = training_config(preset)
    model, optimizer = make_model(config)
    for adapter in model.backbone.adapters():
        adapter.reset()
    model.eval()
    return Pair(model, make_peer(model).eval(), config, optimizer)


def label(preset: str) -> str:
    """What results call a preset."""
    return "tiny" if preset == "tiny" else "paper"


def make_batch(frames: int, size: int) -> Batch:
    """A clip of noise with a disc that sounds: frames (N, 3, S, S) uint8, labels at 224."""
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randint(256, (frames, 3, size, size), generator=generator, dtype=torch.uint8)
    axis = torch.linspace(-1, 1, LABEL_SIZE)
    disc = axis[:, None] ** 2 + axis**2 < 0.3
    return Batch(
        uids=["noise"],
        subsets=["s4"],
        lengths=[frames],
        frames=pictures,
        audio=torch.randn(frames, AUDIO_DIM, generator=generator),
        labels=disc.to(torch.uint8).expand(frames, -1, -1).contiguous(),
        labelled=torch.ones(frames, dtype=torch.bool),
        prior=None,
    )


@torch.no_grad()
def check_same_function(pair: Pair, batch: Batch) -> str:
    """Compare both sides' outputs and losses in evaluation mode; leaves both in training mode.

    Returns: what was found equal.
    Raises: UnequalWork: If they differ.
    """
    model, peer = pair.model.eval(), pair.peer.eval()
    frames = model.normalize(batch.frames)
    size = (frames.shape[-2], frames.shape[-1])
    output = model(frames, batch.audio, intermediates=True)
    loss = model.loss(output, batch.labels, batch.labelled)["loss"]
    theirs = peer(frames, batch.audio, targets_from_labels(batch.labels, size))
    errors = torch.maximum(
        _differences(output.class_logits, theirs.class_queries_logits),
        _differences(output.mask_logits, theirs.masks_queries_logits),
    )
    agree = errors < AGREEMENT
    worst = float(errors.max())
    excused = nearest_to_threshold(model, output) <= TURNS
    same = int(agree.sum()) >= ALIKE * len(agree) and bool((agree | excused).all())
    require_equal(same, f"their outputs, by {worst:.1e} of the largest value")
    gap = abs(float(loss) - float(theirs.loss)) / float(loss)
    require_equal(gap < LOSS_AGREEMENT, f"their losses: {float(loss):.3f} and {float(theirs.loss):.3f}")
    set_training_mode(model, pair.config)
    peer.train()
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return (
        f"{trained:,} trained parameters, outputs of {int(agree.sum())} of {len(agree)} frames within "
        f"{_power_of_ten(float(errors[agree].max()))} of their largest value, "
        f"losses within {100 * gap:.1f} %"
    )


def nearest_to_threshold(model: AAVS, output: SegmentationOutput) -> Tensor:
    """How near a pixel of an attention mask came to being the other way, (N,): the smallest logit by the largest.

    Args:
        output: with its intermediates.
    """
    trace: Any = output.intermediates
    features = [resized(trace["mask_features_with_prior"], level.shape[-2:]) for level in trace["pixel_decoder"]]
    logits = [
        (model.decoder.mask_head(queries) @ features[i % LEVELS]).abs().flatten(1)
        for i, queries in enumerate(trace["queries_normed"][:-1])
    ]
    shares = [layer.amin(1) / layer.amax(1) for layer in logits]
    return torch.stack(shares).amin(0)


def _differences(ours: Tensor, theirs: Tensor) -> Tensor:
    """Largest difference in every frame, as a share of the largest value."""
    require_equal(ours.shape == theirs.shape, f"their outputs' shapes, {tuple(ours.shape)} and {tuple(theirs.shape)}")
    return (ours - theirs).abs().flatten(1).amax(1) / theirs.abs().max()


def _power_of_ten(error: float) -> str:
    return f"1e{math.ceil(math.log10(max(error, 1e-12)))}"
