"""One step of training, forward, loss and backward, against Hugging Face's Mask2Former."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from avsctl.bench.harness import Result, Settings, in_turn
from avsctl.bench.machine import matmul_rate
from avsctl.bench.memory import in_own_process
from avsctl.bench.models import FRAMES, QUICK_FRAMES, Pair, check_same_function, label, make_batch, make_pair
from avsctl.bench.parts import shares
from avsctl.data.samples import Batch
from avsctl.inference import run_model
from avsctl.training.devices import autocast
from avsctl_models import SegmentationModel, targets_from_labels
from avsctl_models.aavs import AAVS
from avsctl_models.losses import Criterion

TARGETS = {"fp32": 1.5, "bf16": 3.0}


def run(settings: Settings, preset: str) -> list[Result]:
    """Time a step in float32, and in bf16 where the processor multiplies it natively; the peer is always float32."""
    frames = (QUICK_FRAMES if settings.quick else FRAMES)[preset]
    pair = make_pair(preset)
    batch = make_batch(frames, pair.model.image_size)
    checked = check_same_function(pair, batch)
    precisions = ["fp32", "bf16"] if settings.native_bf16 else ["fp32"]
    return [_compare(settings, pair, batch, precision, checked) for precision in precisions]


def losses(model: SegmentationModel, batch: Batch, precision: str) -> Tensor:
    """The loss of a batch, as training computes it."""
    with autocast(next(model.parameters()).device, precision):
        output = run_model(model, batch.frames, batch.audio, lengths=batch.lengths, features=batch.features)
    return model.loss(output, batch.labels, batch.labelled, lengths=batch.lengths)["loss"]


def step(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Forward, loss and backward, into fresh gradients."""
    model.zero_grad(set_to_none=True)
    loss().backward()


def _compare(settings: Settings, pair: Pair, batch: Batch, precision: str, checked: str) -> Result:
    preset, frames = pair.config.preset, len(batch.frames)
    first, first_peer = _losses_of(pair, make_batch(1, pair.model.image_size), precision)
    step(pair.model, first)
    flops = flops_of(partial(step, pair.peer, first_peer)) * frames
    ours, peer = _losses_of(pair, batch, precision)
    rounds = settings.rounds(3, 2)
    ours_s, peer_s = in_turn(partial(step, pair.model, ours), partial(step, pair.peer, peer), rounds)
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
        details={
            "peer_flops": flops,
            "matmul_flops_per_s": rate,
            "ours_share_of_matmul_rate": flops / ours_s / rate,
            "peer_share_of_matmul_rate": flops / peer_s / rate,
            "ours_parts": shares(ours, _parts(pair.model), (Criterion, "_match")),
            "peer_parts": shares(peer, pair.peer.parts, (pair.peer.network.criterion.matcher, "forward")),
        },
    )


def _losses_of(pair: Pair, batch: Batch, precision: str) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    network, frames = pair.peer, pair.model.normalize(batch.frames)
    targets = targets_from_labels(batch.labels, (pair.model.image_size,) * 2)
    return partial(losses, pair.model, batch, precision), lambda: network(frames, batch.audio, targets).loss


def _alone(side: str, preset: str, frames: int, precision: str) -> Callable[[], None]:
    """A step of one side, the other side being gone."""
    pair = make_pair(preset)
    ours, peer = _losses_of(pair, make_batch(frames, pair.model.image_size), precision)
    return partial(step, pair.model, ours) if side == "ours" else partial(step, pair.peer, peer)


def flops_of(call: Callable[[], object]) -> int:
    """Floating-point operations of all matrix products and convolutions in a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def _parts(model: AAVS) -> dict[str, nn.Module]:
    return {"backbone": model.backbone, "pixel decoder": model.pixel_decoder, "decoder": model.decoder}
