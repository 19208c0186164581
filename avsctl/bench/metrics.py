"""All scores of sounding masks in one pass, against the plain loop over 255 thresholds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avsctl.bench.harness import Result, Settings, in_turn, require_equal
from avsctl.bench.memory import in_own_process
from avsctl.configs import LABEL_SIZE
from avsctl.metrics import BinaryScores
from avsctl.metrics.binary import BETA_SQUARED, THRESHOLDS

FRAMES = 5
SAME = 1e-4
"""Largest difference of scores: the plain loop sums in float32."""
NAMES = ("miou", "f_score", "f_score_stepping_stones")


class Clip(NamedTuple):
    """Frames (5, 224, 224): what was decided, both score maps, and the label."""

    decided: np.ndarray
    scores: np.ndarray
    theirs: np.ndarray
    target: np.ndarray


def run(settings: Settings) -> list[Result]:
    """Time scoring of clips with both score maps."""
    count = 1 if settings.quick else 20
    clips = make_clips(count)
    mine, plain = in_one_pass(clips), by_threshold(clips)
    for name in NAMES:
        require_equal(abs(mine[name] - plain[name]) < SAME, f"{name}: {mine[name]:.6f} and {plain[name]:.6f}")
    ours_s, peer_s = in_turn(partial(in_one_pass, clips), partial(by_threshold, clips), settings.rounds(5, 3))
    return [
        Result(
            name="metrics",
            ours_s=ours_s,
            peer_s=peer_s,
            target=50,
            unit="frames",
            count=count * FRAMES,
            peer="255 comparisons of each frame in PyTorch for each of the two F-scores, and the IoU",
            checked=f"{', '.join(NAMES)} within {SAME:g}",
            ours_bytes=in_own_process(_alone, "ours", count, threads=settings.threads).peak_bytes,
            peer_bytes=in_own_process(_alone, "peer", count, threads=settings.threads).peak_bytes,
            details={"scores_in_one_pass": len(mine)},
        )
    ]


def make_clips(count: int) -> list[Clip]:
    """Clips whose scores are a blurred, noisy version of the label."""
    rng = np.random.default_rng(0)
    axis = np.linspace(-1, 1, LABEL_SIZE, dtype=np.float32)
    clips = []
    for _ in range(count):
        x, y, width = rng.uniform(-0.5, 0.5, (3, FRAMES, 1, 1)).astype(np.float32)
        distance = np.hypot(axis[:, None] - y, axis - x)
        logits = 8 * (0.4 + width / 4 - distance) + rng.normal(0, 1, distance.shape).astype(np.float32)
        scores = 1 / (1 + np.exp(-logits))
        target = (np.hypot(axis[:, None] - y, axis - x - 0.1) < 0.4).astype(np.uint8)
        clips.append(Clip((scores > 0.5).astype(np.uint8), scores, scores**2, target))
    return clips


def in_one_pass(clips: list[Clip]) -> dict[str, float]:
    """Every score there is, by name."""
    collected = BinaryScores()
    for number, clip in enumerate(clips):
        collected.add(
            f"clip{number}", "s4", clip.decided, clip.target,
            scores=clip.scores, stepping_stones_scores=clip.theirs, position=number,
        )  # fmt: skip
    return collected.result()["all"]


def by_threshold(clips: list[Clip]) -> dict[str, float]:
    """The plain way: the mean IoU and the two F-scores, as AVSBench's code computes them."""
    found = []
    for clip in clips:
        decided, scores, theirs, target = (torch.from_numpy(part).float() for part in clip)
        both = (decided * target).sum((1, 2))
        iou = (both / (torch.maximum(decided, target).sum((1, 2)) + 1e-7)).mean()
        found.append([float(iou), _best_f(scores, target), _best_f(theirs, target)])
    return dict(zip(NAMES, np.mean(found, 0).tolist(), strict=True))


def _best_f(scores: Tensor, target: Tensor) -> float:
    curve = torch.zeros(len(THRESHOLDS))
    for one, label in zip(scores, target, strict=True):
        precision, recall = torch.zeros(2, len(THRESHOLDS))
        for place, threshold in enumerate(THRESHOLDS.tolist()):
            marked = (one >= threshold).float()
            hits = (marked * label).sum()
            precision[place], recall[place] = hits / (marked.sum() + 1e-20), hits / (label.sum() + 1e-20)
        curve += torch.nan_to_num((1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall))
    return float((curve / len(scores)).max())


def _alone(side: str, count: int) -> Callable[[], object]:
    return partial(in_one_pass if side == "ours" else by_threshold, make_clips(count))
