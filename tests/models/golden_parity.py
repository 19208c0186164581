"""Largest differences between our AAVS and tensors that the released code gave for random weights.

Run as a program, it prints a table of these, of TPAVI, AVSegFormer, VGGish and the metrics:
`python tests/models/golden_parity.py [--full-size] [FOLDER]`. With --full-size, also of TPAVI and AVSegFormer at their
published sizes and of Hugging Face's Mask2Former at that of the paper.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from avsctl_models import LossPoints, SegmentationOutput, semantic_inference, targets_from_labels
from avsctl_models.weights import mask2former_hf, stepping_stones
from avsctl_models.weights.files import read_config, read_weights

FOLDER = Path(__file__).parents[1] / "data" / "golden" / "aavs"
CASES = {"stage1_tiny": "avs", "stage2_tiny": "avss", "mask2former_tiny": None}


@dataclass
class Case:
    """One released model with random weights, its inputs and what it gave."""

    name: str
    config: dict
    model: nn.Module
    report: object
    io: dict[str, Tensor]
    loss: dict[str, Tensor]
    output: SegmentationOutput

    @property
    def predictions(self) -> list[tuple[Tensor, Tensor]]:
        return list(self.output.predictions)

    @property
    def tags(self) -> list[str]:
        return [*map(str, range(len(self.predictions) - 1)), "final"]


@dataclass
class Errors:
    """Largest error of every group of tensors, absolute and as a share of the tensor's largest value."""

    groups: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, group: str, ours: Tensor, theirs: Tensor) -> None:
        assert ours.shape == theirs.shape, (group, ours.shape, theirs.shape)
        error = (ours.double() - theirs.double()).abs().max().item()
        assert error == error, f"{group} is not a number"
        share = error / (theirs.double().abs().max().item() or 1.0)
        before = self.groups.get(group, (0.0, 0.0))
        self.groups[group] = (max(before[0], error), max(before[1], share))


@lru_cache
def load_case(name: str, folder: Path = FOLDER) -> Case:
    config = read_config(folder / f"{name}.json")
    task = CASES[name]
    source = stepping_stones if task else mask2former_hf
    model = source.build(config, task=task) if task else source.build(config)
    weights, report = source.convert(read_weights(folder / f"{name}.safetensors"), model)
    model.load_state_dict(weights)
    model.eval()
    io = load_file(folder / f"{name}_io.safetensors")
    loss = load_file(folder / f"{name}_loss.safetensors")
    prior = io["prior"] if model.uses_prior else None
    with torch.no_grad():
        output = model(io["pixel_values"], io.get("audio_feat"), prior, intermediates=True)
    return Case(name, config, model, report, io, loss, output)


def forward_errors(case: Case) -> dict[str, tuple[float, float]]:
    """Errors of all tensors of the forward pass."""
    errors, inner, io = Errors(), case.output.intermediates, case.io
    for i, ours in enumerate(inner["backbone"]):
        errors.add("backbone maps", ours, io[f"out.backbone.{i}"])
    for i, ours in enumerate(inner["pixel_decoder"]):
        errors.add("pixel decoder maps", ours, io[f"out.pixel_decoder.ms.{i}"])
        keys = inner["key_positions"][i].flatten(2).permute(2, 0, 1)
        errors.add("key positions", keys, io[f"out.key_pos.{i}"])
        errors.add("values", inner["values"][i][:1].transpose(0, 1), io[f"out.value.{i}"])
    errors.add("mask features", inner["mask_features"], io["out.pixel_decoder.mask_features"])
    if "out.mask_features_plus_prior" in io:
        fused = inner["mask_features_with_prior"]
        errors.add("mask features with prior", fused, io["out.mask_features_plus_prior"])
    if "out.audio_emb" in io:
        errors.add("projected audio", inner["audio"], io["out.audio_emb"])
    errors.add("initial queries", inner["queries"].transpose(0, 1), io["out.query_init"])
    for i, normed in enumerate(inner["queries_normed"]):
        errors.add("normed queries", normed.transpose(0, 1), io[f"out.decoder_normed.{i}"])
    errors.add("last queries", inner["queries_last"].transpose(0, 1), io["out.decoder_last_unnormed"])
    for i, (classes, masks) in enumerate(case.predictions):
        errors.add("class logits", classes, io[f"out.class_logits.{i}"])
        errors.add("mask logits", masks, io[f"out.mask_logits.{i}"])
    size = tuple(io["out.post.prob"].shape[-2:])
    errors.add("class maps", semantic_inference(case.output, size), io["out.post.prob"])
    if "out.post384.prob_frame0" in io:
        maps = upsampled_to_384(case)[0]
        errors.add("class maps through 384", maps, io["out.post384.prob_frame0"].view_as(maps))
    return errors.groups


def loss_errors(case: Case) -> dict[str, tuple[float, float]]:
    """Errors of the losses of every prediction, with the recorded points."""
    errors, losses = Errors(), case_losses(case)
    names = {"class": "cross_entropy", "mask": "mask", "dice": "dice"}
    for i, tag in enumerate(case.tags):
        for ours, theirs in names.items():
            wanted = case.loss[f"out.{tag}.loss_{theirs}"]
            errors.add(f"{ours} loss", losses[f"{ours}_losses"][i : i + 1], wanted)
    errors.add("total loss", losses["loss"][None], case.loss["out.total_weighted"])
    return errors.groups


def upsampled_to_384(case: Case) -> Tensor:
    """Class maps at 224 by way of 384, which the released code does whatever the input's size."""
    output = SegmentationOutput(case.output.predictions, (384, 384))
    return semantic_inference(output, (224, 224))


def case_losses(case: Case) -> dict[str, Tensor]:
    """Our loss of a case with the recorded points."""
    frames, random = len(case.output.class_logits), case.loss
    matcher = [torch.cat([random[f"rand.{tag}.matcher.{b}"] for b in range(frames)]) for tag in case.tags]
    points = LossPoints(
        torch.stack(matcher),
        torch.stack([random[f"rand.{tag}.oversample"] for tag in case.tags]),
        torch.stack([random[f"rand.{tag}.random"] for tag in case.tags]),
    )
    targets = targets_from_labels(random["in.label_map"].long(), case.output.input_size)
    return case.model.criterion()(case.output, targets, points=points)


def main(folder: Path, full_size: bool) -> None:
    """Print the table as Markdown."""
    from baseline_parity import every_error
    from full_size_parity import full_size_errors
    from sound_and_score_parity import metric_errors, vggish_errors

    print("| case | tensor | absolute | of scale |\n|---|---|---|---|")
    for name in CASES:
        case = load_case(name, folder)
        _print_rows(name, {**forward_errors(case), **loss_errors(case)})
    for name, errors in every_error(full_size):
        _print_rows(name, errors)
    _print_rows("vggish", vggish_errors())
    _print_rows("metrics", metric_errors())
    if full_size:
        with tempfile.TemporaryDirectory() as temporary:
            _print_rows("mask2former, Swin-B, 384", full_size_errors(Path(temporary)))


def _print_rows(case: str, groups: dict[str, tuple[float, float]]) -> None:
    for group, (absolute, share) in groups.items():
        print(f"| {case} | {group} | {absolute:.1e} | {share:.1e} |")


if __name__ == "__main__":
    sys.modules["golden_parity"] = sys.modules["__main__"]
    words = [word for word in sys.argv[1:] if word != "--full-size"]
    main(Path(words[0]) if words else FOLDER, "--full-size" in sys.argv)
