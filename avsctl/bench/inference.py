"""Prediction, which `predict-priors`, `evaluate` and `visualize` share, against the float32 peer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from avsctl.bench.harness import Result, Settings, in_turn, require_equal
from avsctl.bench.machine import matmul_rate
from avsctl.bench.memory import in_own_process
from avsctl.bench.models import (
    FRAMES,
    QUICK_FRAMES,
    Pair,
    check_same_function,
    label,
    make_batch,
    make_trained_pair,
)
from avsctl.bench.training_step import flops_of
from avsctl.configs import LABEL_SIZE
from avsctl.data.samples import Batch
from avsctl.inference import class_maps, decide
from avsctl.metrics import BinaryScores

TARGETS = {"fp32": 1.3, "bf16": 2.8}
SAME_PIXELS = 0.999
"""Least share of pixels that both sides decide alike in float32."""


def run(settings: Settings, preset: str) -> list[Result]:
    """Time class maps of clips in float32, and in bf16 where it is native; the peer is always float32."""
    pair = make_trained_pair(preset)
    frames = (QUICK_FRAMES if settings.quick else FRAMES)[preset]
    batch = make_batch(frames, pair.model.image_size)
    checked = check_same_function(pair, batch)
    pair.model.eval()
    pair.peer.eval()
    precisions = ["fp32", "bf16"] if settings.native_bf16 else ["fp32"]
    return [_compare(settings, pair, batch, precision, checked) for precision in precisions]


def _compare(settings: Settings, pair: Pair, batch: Batch, precision: str, checked: str) -> Result:
    ours, peer = _ours(pair, batch, precision), peer_maps(pair, batch)
    mine, theirs = decide(ours()), decide(peer())
    same = float((mine == theirs).float().mean())
    if precision == "fp32":
        require_equal(same >= SAME_PIXELS, f"{100 * (1 - same):.2f} % of their pixels")
    ours_s, peer_s = in_turn(ours, peer, settings.rounds(5, 2))
    rate = matmul_rate(torch.float32 if precision == "fp32" else torch.bfloat16)
    frames, preset = len(batch.frames), pair.config.preset
    flops = flops_of(peer_maps(pair, make_batch(1, pair.model.image_size))) * frames
    peaks = [
        in_own_process(_alone, side, preset, frames, precision, threads=settings.threads).peak_bytes
        for side in ("ours", "peer")
    ]
    return Result(
        name=f"inference-{label(preset)}-{precision}",
        ours_s=ours_s,
        peer_s=peer_s,
        target=TARGETS[precision],
        unit="frames",
        count=frames,
        peer="Mask2Former of transformers in float32, same weights, class maps at 224",
        checked=f"{checked}; {100 * same:.3f} % of all pixels decided alike",
        ours_bytes=peaks[0],
        peer_bytes=peaks[1],
        details={
            "peer_flops": flops,
            "matmul_flops_per_s": rate,
            "ours_share_of_matmul_rate": flops / ours_s / rate,
            "peer_share_of_matmul_rate": flops / peer_s / rate,
            "pixels_decided_alike": same,
            "ours_miou": _miou(mine, batch),
            "peer_miou": _miou(theirs, batch),
        },
    )


def _ours(pair: Pair, batch: Batch, precision: str) -> Callable[[], Tensor]:
    return partial(class_maps, pair.model, batch.frames, batch.audio, lengths=batch.lengths, precision=precision)


def peer_maps(pair: Pair, batch: Batch) -> Callable[[], Tensor]:
    """A call that gives the peer's class maps (N, 2, 224, 224) of a batch."""
    frames, size = pair.model.normalize(batch.frames), (pair.model.image_size,) * 2
    peer = pair.peer

    @torch.inference_mode()
    def maps() -> Tensor:
        """As Hugging Face's post-processing and the released code: masks upsampled, squashed, weighted by classes."""
        output = peer(frames, batch.audio)
        masks = F.interpolate(output.masks_queries_logits, size=size, mode="bilinear", align_corners=False)
        classes = output.class_queries_logits.softmax(-1)[..., :-1]
        both = torch.einsum("nqk,nqhw->nkhw", classes, masks.sigmoid())
        return F.interpolate(both, size=(LABEL_SIZE,) * 2, mode="bilinear", align_corners=False)

    return maps


def _alone(side: str, preset: str, frames: int, precision: str) -> Callable[[], None]:
    pair = make_trained_pair(preset)
    batch = make_batch(frames, pair.model.image_size)
    call = _ours(pair, batch, precision) if side == "ours" else peer_maps(pair, batch)
    return partial(_silently, call)


def _silently(call: Callable[[], Tensor]) -> None:
    """Call; the result stays in this process."""
    call()


def _miou(decided: Tensor, batch: Batch) -> float:
    scores = BinaryScores()
    scores.add("noise", "s4", decided.numpy(), batch.labels.numpy())
    return float(scores.result()["all"]["miou"])
