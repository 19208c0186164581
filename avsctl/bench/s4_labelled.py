"""Training on S4: the one labelled frame of a clip, against the released code's five copies of it.

With `--frozen-drop-path 0` the copies share one pass through the frozen backbone: `s4-repeated-once`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from avsctl.bench.clips import draw_clips, read_clips
from avsctl.bench.harness import Result, Settings, in_turn, require_equal
from avsctl.bench.models import PAPER, make_model, training_config
from avsctl.bench.training_step import step
from avsctl.configs import TrainConfig
from avsctl.data.samples import Batch, ClipSamples
from avsctl.training.schedule import set_training_mode
from avsctl_models.aavs import AAVS

LOSS_AGREEMENT = 0.02
"""Largest relative difference of the losses of one frame and of its copies, taken at different random points."""


def run(settings: Settings, preset: str = PAPER) -> list[Result]:
    """Time a clip's step with `--s4-frames labelled` and `repeat`."""
    clips, audio = read_clips(draw_clips(settings.scratch / "drawn", 1, 224, split="train"), settings.scratch)
    config = training_config(preset)
    model, optimizer = make_model(config)
    batches = {
        frames: ClipSamples(clips, audio, [0], task="avs", image_size=model.image_size, frames=frames)[0]
        for frames in ("labelled", "repeat")
    }
    checked = _check(model, batches["labelled"], batches["repeat"])
    peer = partial(_learn, model, optimizer, config, batches["repeat"])
    once = partial(_learn, model, optimizer, replace(config, frozen_drop_path="0"), batches["repeat"])
    sides: dict[str, tuple[Callable[[], object], float | None]] = {
        "s4-labelled": (partial(_learn, model, optimizer, config, batches["labelled"]), 4)
    }
    if not settings.quick:
        sides["s4-repeated-once"] = (once, None)
    return [_compare(settings, name, ours, peer, target, checked) for name, (ours, target) in sides.items()]


def _compare(
    settings: Settings,
    name: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    target: float | None,
    checked: str,
) -> Result:
    ours()
    ours_s, peer_s = in_turn(ours, peer, settings.rounds(3, 1))
    about = "the labelled frame five times with its five sounds, as released"
    return Result(name, ours_s, peer_s, target, "clips", 1, about, checked)


def _learn(model: AAVS, optimizer: torch.optim.Optimizer, config: TrainConfig, batch: Batch) -> None:
    set_training_mode(model, config)
    step(model, optimizer, config, batch)


@torch.no_grad()
def _check(model: AAVS, labelled: Batch, repeated: Batch) -> str:
    """Both show the same frame with the same label; with the same sound, their losses are the same."""
    copies = len(repeated.frames)
    require_equal(len(labelled.frames) == 1 and copies == 5, "the frames they should have")
    for name in ("frames", "labels"):
        one, many = getattr(labelled, name), getattr(repeated, name)
        require_equal(torch.equal(one.expand_as(many), many), f"the {name} of the labelled second")
    model.eval()
    losses = []
    for batch in (labelled, repeated):
        sound = labelled.audio.expand(len(batch.frames), -1)
        output = model(model.normalize(batch.frames), sound)
        losses.append(float(model.loss(output, batch.labels, batch.labelled)["loss"]))
    gap = abs(losses[0] - losses[1]) / losses[0]
    require_equal(gap < LOSS_AGREEMENT, f"their losses with the same sound: {losses[0]:.3f} and {losses[1]:.3f}")
    return f"frame and label; with the same sound the losses, within {100 * gap:.1f} %"
