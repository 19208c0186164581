"""Losses of dense models equal the released ones, and leave unlabelled frames and pixels out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from avsctl_models import DenseOutput, create_model
from avsctl_models.dense_losses import AudioMapLoss, frame_mean, labelled_frames, pixel_loss

FOLDER = Path(__file__).parents[1] / "data" / "golden" / "baselines"
EXPECTED = json.loads((FOLDER / "losses.json").read_text())["expected"]
AVSBENCH = [name for name in EXPECTED if name.startswith("avsbench")]
# Of float32 sums in another order, a few units in the seventh digit.
TOLERANCE = {"rtol": 2e-6, "atol": 2e-6}


@pytest.fixture(scope="module")
def io():
    return load_file(FOLDER / "losses.safetensors")


@pytest.mark.parametrize("name", AVSBENCH)
def test_avsbench_losses_agree(io, name):
    task, options = name.split(".")[0].removeprefix("avsbench_"), EXPECTED[name]
    if task == "avss":
        logits, labels, prefixes = io["pred10"], io["label10"], ("vv", "aa")
        labelled = io["gt_temporal_mask"].bool()
    else:
        logits, labels, prefixes = io["pred5"], io["mask5"][:, 0], ("v", "a")
        labelled = torch.arange(10) % 5 == 0 if task == "s4" else torch.ones(10, dtype=torch.bool)
    labels = labelled_frames(labels, labelled, logits.shape[-2:])
    main = frame_mean(pixel_loss(logits, labels), labelled)
    torch.testing.assert_close(main.item(), options["iou"], **TOLERANCE)
    if not options.get("sa_loss_flag"):
        return
    levels = options["count_stages"]
    maps = [io[f"{prefixes[0]}{level}"] for level in levels]
    sounds = [io[f"{prefixes[1]}{level}"].flatten(0, 1) for level in levels]
    distance = "cosine" if task == "s4" else "euclid" if options.get("euclidean_flag") else "kl"
    loss = AudioMapLoss(
        distance=distance,
        pooling=options.get("mask_pooling_type", "avg"),
        normalize=options.get("norm_fea", False),
        threshold=options.get("threshold", False),
        closest=options.get("closer_flag", False),
    )
    audio = loss(logits, maps, sounds, labelled)
    torch.testing.assert_close(audio.item(), options["sa"], **TOLERANCE)
    torch.testing.assert_close((main + options["lambda_1"] * audio).item(), options["total"], **TOLERANCE)


@pytest.mark.parametrize("name", [name for name in EXPECTED if name.startswith("avsegformer")])
def test_avsegformer_losses_agree(io, name):
    task, _, kind = name.removeprefix("avsegformer_").partition(".")
    size = {"queries": 4, "image_size": 32, "backbone": "test_resnet", "mask_loss": kind or "dice"}
    model = create_model("avsegformer", preset="tiny", task="avss" if task == "avss" else "avs", **size)
    if task == "avss":
        output = DenseOutput(io["pred10"], (16, 16), [io["mask_feature20"]])
        labels, labelled = io["label10"], io["gt_temporal_mask"].bool()
    else:
        output = DenseOutput(io["pred5"], (32, 32), [io["mask_feature5"]])
        labels = io["mask5"][:, 0]
        labelled = torch.arange(10) % 5 == 0 if task == "s4" else torch.ones(10, dtype=torch.bool)
    losses = model.loss(output, labels, labelled)
    torch.testing.assert_close(losses["loss"].item(), EXPECTED[name]["total"], **TOLERANCE)
    torch.testing.assert_close(losses["loss_mask"].item(), EXPECTED[name]["iou_loss"], **TOLERANCE)
    torch.testing.assert_close(0.1 * losses["loss_mix"].item(), EXPECTED[name]["mix_loss"], **TOLERANCE)
