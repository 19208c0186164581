"""Largest differences between our VGGish and our metrics and what the released code gave."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from golden_parity import Errors
from safetensors.numpy import load_file
from test_audio_vggish import GAIN, hash_fill

from avsctl.metrics import BinaryScores, SemanticScores
from avsctl.metrics.binary import sigmoid, stepping_stones_score
from avsctl_models.audio import frontend, vggish

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def vggish_errors() -> dict[str, tuple[float, float]]:
    """Errors of front end, network and post-processing; the network's weights are made from their names."""
    errors, at_16k = Errors(), load_file(GOLDEN / "vggish" / "frontend_16k.safetensors")
    at_44k1 = load_file(GOLDEN / "vggish" / "frontend_44k1.safetensors")
    for golden, rate, waves in ((at_16k, 16000, ("sine", "chirp")), (at_44k1, 44100, ("sine", "chirp_stereo"))):
        for wave in waves:
            made = frontend.examples(frontend.log_mel(golden[f"{wave}.wav_i16"], rate))
            _add(errors, f"log-mel examples, {rate} Hz", made, golden[f"{wave}.logmel"][:, 0])
    golden = load_file(GOLDEN / "vggish" / "network_hashfill.safetensors")
    network = vggish.Vggish().eval()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict({n: torch.from_numpy(hash_fill(n, shape, GAIN)) for n, shape in shapes.items()})
    made = network.embed(golden["x"][:, 0])
    _add(errors, "embeddings before the ReLU", made, golden["pre_relu"])
    _add(errors, "embeddings after the ReLU", vggish.relu(made), golden["embedding"])
    vectors = hash_fill("pca_eigen_vectors", (128, 128), 1.0)
    quantised = vggish.pca_quantised(golden["embedding"], vectors, hash_fill("pca_means", (128, 1), 1.0))
    _add(errors, "after PCA, 8 bits", quantised, golden["pca_quantised"])
    return errors.groups


def metric_errors() -> dict[str, tuple[float, float]]:
    """Errors of the scores of test sets of random predictions, against three published test scripts."""
    errors = Errors()
    for scores, wanted in ((_binary_set(), "binary_final"), (_semantic_set(), "semantic_final")):
        kind, names = wanted.split("_")[0], {"miou": "miou", "f_score": "fscore"}
        names = {"miou": "miou", "f_score_stepping_stones": "fscore"} if kind == "binary" else names
        record = json.loads((GOLDEN / "metrics" / f"aavs_{kind}.json").read_text())[wanted]
        for ours, theirs in names.items():
            _add(errors, f"Stepping Stones, {kind} {ours}", scores[ours], record[theirs])
    tensors, expected = _baselines("binary")
    for case, published in expected.items():
        if case == "batching_note":
            continue
        score, target = sigmoid(tensors[f"{case}.pred"]), tensors[f"{case}.gt"]
        result = _one_clip(score > 0.5, target, scores=score)
        _add(errors, "AVSBench and AVSegFormer, binary miou", result["miou"], published["mask_iou"])
        _add(errors, "AVSBench and AVSegFormer, binary f_score", result["f_score"], published["Eval_Fmeasure"])
    tensors, expected = _baselines("semantic")
    published = expected["DATASET_LEVEL"]["all"]
    scores = SemanticScores(71)
    for case in published["cases"]:
        pred = tensors.get(f"{case}.pred_label")
        pred = tensors[f"{case}.logits"].argmax(axis=1) if pred is None else pred
        scores.add(case, "v2", pred, tensors[f"{case}.gt"])
    result, theirs = scores.result()["all"], published["avsbench_avsegformer"]
    names = {"miou": "miou", "miou_legacy": "miou_noBg", "f_score": "F_score", "f_score_legacy": "F_score_noBg"}
    for ours, name in names.items():
        _add(errors, f"AVSBench and AVSegFormer, semantic {ours}", result[ours], theirs[name])
    return errors.groups


def _binary_set() -> dict[str, float]:
    tensors, scores = load_file(GOLDEN / "metrics" / "aavs_binary.safetensors"), BinaryScores()
    for i in range(len(tensors) // 2):
        background, sounding = tensors[f"binary.{i}.logits"].swapaxes(0, 1)
        extra = {"stepping_stones_scores": stepping_stones_score(background, sounding)}
        scores.add(str(i), "s4", sounding > background, tensors[f"binary.{i}.gt"], **extra)
    return scores.result()["all"]


def _semantic_set() -> dict[str, float]:
    tensors, scores = load_file(GOLDEN / "metrics" / "aavs_semantic.safetensors"), SemanticScores(71)
    for i in range(3):
        scores.add(str(i), "v2", tensors[f"sem.{i}.pred"], tensors[f"sem.{i}.gt"])
    return scores.result()["all"]


def _one_clip(pred: np.ndarray, target: np.ndarray, **extra: np.ndarray) -> dict[str, float]:
    scores = BinaryScores()
    scores.add("clip", "s4", pred, target, **extra)
    return scores.result()["all"]


def _baselines(kind: str) -> tuple[dict, dict]:
    record = json.loads((GOLDEN / "metrics" / f"baselines_{kind}.json").read_text())
    return load_file(GOLDEN / "metrics" / f"baselines_{kind}.safetensors"), record["expected"]


def _add(errors: Errors, group: str, ours: np.ndarray | float, theirs: np.ndarray | float) -> None:
    ours, theirs = (torch.from_numpy(np.atleast_1d(np.asarray(v, np.float64))) for v in (ours, theirs))
    errors.add(group, ours, theirs)
