"""One step of training, forward, loss and backward, against Hugging Face's Mask2Former."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from avsctl.bench.harness import Result, Settings, in_turn
from avsctl.bench.machine import matmul_rate
from avsctl.bench.memory import in_own_process
from avsctl.bench.models import FRAMES, QUICK_FRAMES, Pair, check_same_function, label, make_batch, make_pair
from avsctl.bench.parts import shares
from avsctl.configs import TrainConfig
from avsctl.data.samples import Batch
from avsctl.training.step import Gradients
from avsctl_models import targets_from_labels
from avsctl_models.aavs import AAVS
from avsctl_models.losses import Criterion

TARGETS = {"fp32": 1.5, "bf16": 3.0}
MEMORY = 1.02
"""Largest peak memory as a share of the peer's: no higher, but for what the measurement scatters."""


def run(settings: Settings, preset: str) -> list[Result]:
    """Time a step in float32, and in bf16 where the processor multiplies it natively; the peer is always float32."""
    frames = (QUICK_FRAMES if settings.quick else FRAMES)[preset]
    pair = make_pair(preset)
    batch = make_batch(frames, pair.model.image_size)
    checked = check_same_function(pair, batch)
    precisions = ["fp32", "bf16"] if settings.native_bf16 else ["fp32"]
    return [_compare(settings, pair, batch, precision, checked) for precision in precisions]


def step(model: AAVS, optimizer: torch.optim.Optimizer, config: TrainConfig, batch: Batch) -> float:
    """Forward, loss and backward as training does them, without the optimiser's own step; gives the loss."""
    return Gradients(model, optimizer, config, (0, 0)).compute(batch).values["loss"]


def _compare(settings: Settings, pair: Pair, batch: Batch, precision: str, checked: str) -> Result:
    preset, frames = pair.config.preset, len(batch.frames)
    first, first_peer = _sides(pair, make_batch(1, pair.model.image_size), precision)
    first()
    flops = flops_of(first_peer) * frames
    ours, peer = _sides(pair, batch, precision)
    ours_s, peer_s = in_turn(ours, peer, settings.rounds(3, 2))
    rate = matmul_rate(torch.float32 if precision == "fp32" else torch.bfloat16)
    peaks = [
        in_own_process(_alone, side, preset, frames, precision, threads=settings.threads).peak_bytes
        for side in ("ours", "peer")
    ]
    return Result(
        name=f"training-step-{label(preset)}-{precision}",
        ours_s=ours_s,
        peer_s=peer_s,
        target=TARGETS[precision],
        unit="frames",
        count=frames,
        peer="Mask2Former of transformers in float32, same weights, same parts frozen",
        checked=checked,
        ours_bytes=peaks[0],
        peer_bytes=peaks[1],
        memory_target=MEMORY,
        details={
            "peer_flops": flops,
            "matmul_flops_per_s": rate,
            "ours_share_of_matmul_rate": flops / ours_s / rate,
            "peer_share_of_matmul_rate": flops / peer_s / rate,
            "ours_parts": shares(ours, _parts(pair.model), (Criterion, "_match")),
            "peer_parts": shares(peer, pair.peer.parts, (pair.peer.network.criterion.matcher, "forward")),
        },
    )


def _sides(pair: Pair, batch: Batch, precision: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """A step of either side; the peer's frames and targets are made beforehand, as its processor would."""
    peer, frames = pair.peer, pair.model.normalize(batch.frames)
    targets = targets_from_labels(batch.labels, (pair.model.image_size,) * 2)

    def learn() -> None:
        peer.zero_grad(set_to_none=True)
        peer(frames, batch.audio, targets).loss.backward()

    config = replace(pair.config, precision=precision)
    return partial(step, pair.model, pair.optimizer, config, batch), learn


def _alone(side: str, preset: str, frames: int, precision: str) -> Callable[[], object]:
    """A step of one side; the other side is gone when it is taken."""
    pair = make_pair(preset)
    ours, peer = _sides(pair, make_batch(frames, pair.model.image_size), precision)
    return ours if side == "ours" else peer


def flops_of(call: Callable[[], object]) -> int:
    """Floating-point operations of all matrix products and convolutions in a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def _parts(model: AAVS) -> dict[str, nn.Module]:
    return {"backbone": model.backbone, "pixel decoder": model.pixel_decoder, "decoder": model.decoder}
