"""`predict-priors` and `evaluate` as a user runs them, against a plain loop over clips with the float32 peer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from avsctl.bench.clips import draw_clips, read_clips
from avsctl.bench.harness import Result, Settings, in_turn, require_equal
from avsctl.bench.inference import TARGETS, peer_maps
from avsctl.bench.models import PAPER, Pair, make_trained_pair
from avsctl.caches.priors import PriorCache, to_bytes
from avsctl.data.samples import ClipSamples
from avsctl.inference import decide, sounding_probability
from avsctl.metrics import BinaryScores
from avsctl.metrics.binary import stepping_stones_score
from avsctl.stages.evaluate import EvaluateConfig, evaluate
from avsctl.stages.predict_priors import predict_priors, route_runs
from avsctl.training.devices import predicting_by_device
from avsctl.workspace import Workspace
from avsctl_models import save_model

SAME_SCORE = 1e-3
"""0.1 in percent."""
SAME_BYTES = 0.999
"""Least share of pixels whose stored probabilities differ by at most 1 of 255."""


def run(settings: Settings, preset: str = PAPER) -> list[Result]:
    """Time both commands on S4-like clips in float32, and evaluate in bf16 where that is native."""
    preset = "tiny" if settings.quick else preset
    count = 8
    pair = make_trained_pair(preset)
    clips, audio = read_clips(draw_clips(settings.scratch / "drawn", count, 224), settings.scratch)
    model = str(save_model(pair.model, settings.scratch / "model.safetensors"))
    plain = _Plain(pair, ClipSamples(clips, audio, range(count), task="avs", image_size=pair.model.image_size))
    ours = _Ours(Workspace(settings.scratch), model)
    rounds = settings.rounds(2, 1)
    results = [_predict_priors(ours, plain, rounds), _evaluate(ours, plain, "fp32", rounds)]
    if settings.native_bf16:
        results.append(_evaluate(ours, plain, "bf16", rounds))
    return results


@dataclass(frozen=True)
class _Ours:
    """The two commands' steps, as they run on a CPU, with a model's file."""

    workspace: Workspace
    model: str

    def miou(self, precision: str) -> float:
        config = EvaluateConfig(task="avs", run=self.model, device="cpu", precision=precision)
        return evaluate(self.workspace, config, **predicting_by_device("cpu"))[0].content["scores"]["all"]["miou"]

    def priors(self) -> Path:
        routes = route_runs(self.workspace, run=self.model)
        return predict_priors(self.workspace, routes, device="cpu", overwrite=True, **predicting_by_device("cpu"))


@dataclass(frozen=True)
class _Plain:
    """What the commands compute, clip by clip with the peer."""

    pair: Pair
    samples: ClipSamples

    def miou(self) -> float:
        scores = BinaryScores()
        for batch in (self.samples[number] for number in range(len(self.samples))):
            maps = peer_maps(self.pair, batch)()
            scores.add(
                batch.uids[0],
                batch.subsets[0],
                decide(maps).numpy(),
                batch.labels.numpy(),
                scores=sounding_probability(maps).numpy(),
                stepping_stones_scores=stepping_stones_score(maps[:, 0].numpy(), maps[:, 1].numpy()),
            )
        return scores.result()["all"]["miou"]

    def priors(self) -> dict[str, np.ndarray]:
        batches = (self.samples[number] for number in range(len(self.samples)))
        return {
            batch.uids[0]: to_bytes(sounding_probability(peer_maps(self.pair, batch)()).numpy()) for batch in batches
        }


def _predict_priors(ours: _Ours, plain: _Plain, rounds: int) -> Result:
    cache, found = PriorCache(ours.priors()), plain.priors()
    close = [np.abs(cache.maps(uid).astype(int) - maps) <= 1 for uid, maps in found.items()]
    same = float(np.mean(close))
    require_equal(same >= SAME_BYTES, f"{100 * (1 - same):.2f} % of their probabilities")
    checked = f"{100 * same:.3f} % of all probabilities within 1/255"
    return _timed("inference-predict-priors", "fp32", ours.priors, plain.priors, plain, rounds, checked)


def _evaluate(ours: _Ours, plain: _Plain, precision: str, rounds: int) -> Result:
    scores = ours.miou(precision), plain.miou()
    require_equal(abs(scores[0] - scores[1]) <= SAME_SCORE, f"their mIoU, {scores[0]:.4f} and {scores[1]:.4f}")
    checked = f"mIoU {scores[0]:.4f} and {scores[1]:.4f}"
    call = partial(ours.miou, precision)
    return _timed(f"inference-evaluate-{precision}", precision, call, plain.miou, plain, rounds, checked)


def _timed(
    name: str,
    precision: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    plain: _Plain,
    rounds: int,
    checked: str,
) -> Result:
    ours_s, peer_s = in_turn(ours, peer, rounds)
    about = "clips read and predicted one by one, Mask2Former of transformers in float32"
    return Result(name, ours_s, peer_s, TARGETS[precision], "clips", len(plain.samples), about, checked)
