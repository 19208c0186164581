"""PVT-v2 and ResNet-50 as AVSBench and AVSegFormer store them, in timm's names."""

from __future__ import annotations

import re

from torch import Tensor

from avsctl_models.weights.mapping import Rule

_KIND = r"\.(weight|bias)"
_PUBLISHED_PVT = {
    "embed_dims": [64, 128, 320, 512],
    "depths": [3, 6, 40, 3],
    "mlp_ratios": [4, 4, 4, 4],
    "sr_ratios": [8, 4, 2, 1],
}

RESNET_DEAD = ("layer3_2.", "layer4_2.")
"""Beginnings, after the prefix, of second copies of layers that no released model runs."""


def pvt_rules(ours: str, theirs: str) -> list[Rule]:
    """Rules for PVT-v2.

    Args:
        ours, theirs: What stands before the names of the network; the first as a regular expression.
    """
    rules = [Rule(rf"{ours}patch_embed\.(proj|norm){_KIND}", (theirs + "patch_embed1.{0}.{1}",))]
    for stage in range(4):
        block = rf"{ours}stages[_.]{stage}\.blocks\.(\d+)\."
        target = f"{theirs}block{stage + 1}.{{0}}."
        rules += [
            Rule(rf"{ours}stages[_.]{stage}\.downsample\.(.+)", (f"{theirs}patch_embed{stage + 1}.{{0}}",)),
            Rule(block + r"mlp\.dwconv\.(.+)", (target + "mlp.dwconv.dwconv.{1}",)),
            Rule(block + "(.+)", (target + "{1}",)),
            Rule(rf"{ours}stages[_.]{stage}\.norm{_KIND}", (f"{theirs}norm{stage + 1}.{{0}}",)),
        ]
    return rules


def resnet_rules(ours: str, theirs: str) -> list[Rule]:
    """Rules for ResNet-50, whose deeper two layers are doubled there; arguments as of `pvt_rules`."""
    return [
        Rule(rf"{ours}layer([34])\.(.+)", (theirs + "layer{0}_1.{1}",)),
        Rule(rf"{ours}(.+)", (theirs + "{0}",)),
    ]


def backbone_settings(state: dict[str, Tensor], prefix: str) -> dict:
    """What the tensors say of the backbone's sizes, as settings that differ from the preset's.

    Numbers of heads leave no trace in shapes; they stay those of PVT-v2-B5, 1, 2, 5 and 8.

    Args:
        prefix: Stands before PVT's names in the file.
    """
    if f"{prefix}patch_embed1.proj.weight" not in state:
        return {}
    options: dict[str, list[int]] = {"embed_dims": [], "depths": [], "mlp_ratios": [], "sr_ratios": []}
    for stage in range(1, 5):
        block = f"{prefix}block{stage}.0."
        width = len(state[f"{prefix}patch_embed{stage}.proj.weight"])
        reduction = state.get(f"{block}attn.sr.weight")
        options["embed_dims"].append(width)
        options["depths"].append(count_layers(state, f"{prefix}block{stage}."))
        options["mlp_ratios"].append(len(state[f"{block}mlp.fc1.weight"]) // width)
        options["sr_ratios"].append(1 if reduction is None else reduction.shape[-1])
    if options == _PUBLISHED_PVT:
        return {}
    return {"backbone_options": {**options, "num_heads": [1, 2, 5, 8]}}


def count_layers(state: dict[str, Tensor], prefix: str) -> int:
    """How many numbered layers there are after a prefix of names, 0, 1, …"""
    pattern = re.escape(prefix) + r"(\d+)\."
    return 1 + max((int(match[1]) for match in map(re.compile(pattern).match, state) if match), default=-1)
