"""An epoch of phase 1 from cached maps of the frozen backbone, against computing them each time."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

from avsctl.bench.clips import draw_clips, read_clips
from avsctl.bench.harness import Result, Settings, in_turn, require_equal
from avsctl.bench.models import PAPER, make_model, training_config
from avsctl.bench.training_step import step
from avsctl.data.samples import Batch, ClipSamples, loader
from avsctl.progress import silent
from avsctl.stages.cache_features import use_features
from avsctl.training.schedule import set_training_mode
from avsctl.workspace import Workspace

LOSS_AGREEMENT = 1e-2
"""Largest relative difference of a clip's two losses: the maps are kept in float16."""


def run(settings: Settings, preset: str = PAPER) -> list[Result]:
    """Time an epoch over the labelled frames of S4-like clips."""
    count = 1 if settings.quick else 4
    clips, audio = read_clips(draw_clips(settings.scratch / "drawn", count, 224, split="train"), settings.scratch)
    config = training_config(preset, cache_features="train", s4_frames="labelled", freeze_backbone=True)
    model, optimizer = make_model(config)
    plain = ClipSamples(clips, audio, range(count), task="avs", image_size=model.image_size, frames="labelled")
    cached = copy.copy(plain)
    workspace = Workspace(settings.scratch)
    use_features(workspace, config, model, {"train": cached, "val": plain}, True, 0, silent)
    set_training_mode(model, config)
    ours, peer = (partial(_epoch, samples, partial(step, model, optimizer, config)) for samples in (cached, plain))
    gap = max(abs(a - b) / b for a, b in zip(ours(), peer(), strict=True))
    require_equal(gap < LOSS_AGREEMENT, f"their losses, by {100 * gap:.1f} %")
    ours_s, peer_s = in_turn(ours, peer, settings.rounds(3, 1))
    return [
        Result(
            name="frozen-features",
            ours_s=ours_s,
            peer_s=peer_s,
            target=2.5,
            unit="frames",
            count=count,
            peer="the frozen backbone computed for every frame",
            checked=f"frames, and losses within {100 * gap:.2g} %",
            details={"bytes_per_frame": next(workspace.features("x").parent.glob("*.h5")).stat().st_size // count},
        )
    ]


def _epoch(samples: ClipSamples, learn: Callable[[Batch], float]) -> list[float]:
    """Read every clip and learn from it, one in a step; gives the losses."""
    return [learn(batch) for batch in loader(samples, [[item] for item in range(len(samples))], 0)]
