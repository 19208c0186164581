"""Released checkpoints of AVSBench's TPAVI, for S4, MS3 and AVSS."""

from __future__ import annotations

from torch import Tensor

from avsctl_models.contract import SegmentationModel
from avsctl_models.registry import create_model
from avsctl_models.weights.mapping import Report, Rule, convert_with_rules
from avsctl_models.weights.official_backbones import RESNET_DEAD, backbone_settings, pvt_rules, resnet_rules

SOURCE = "avsbench"
DEAD = ("path4.resConfUnit1.", *(f"resnet.{name}" for name in RESNET_DEAD))
"""Beginnings of names that the files hold and the released model never uses."""

_BACKBONE = r"backbone\.network\."
_ATTENTION = {
    "audio": "align_channel",
    "query": "theta",
    "key": "phi",
    "value": "g",
    "output": "W_z.0",
    "output_norm": "W_z.1",
    "norm": "norm_layer",
}
_HEAD = {"reduce": "output_conv.0", "refine": "output_conv.2", "classify": "output_conv.4"}


def _rules() -> list[Rule]:
    rules = [Rule(rf"head\.{ours}\.(.+)", (f"{theirs}.{{0}}",)) for ours, theirs in _HEAD.items()]
    for level in range(4):
        source = f"conv{level + 1}.conv2d_list.{{0}}.{{1}}"
        rules.append(Rule(rf"projections\.{level}\.convolutions\.(\d)\.(.+)", (source,)))
        for ours, theirs in _ATTENTION.items():
            source = f"tpavi_b{level + 1}.{theirs}.{{0}}"
            rules.append(Rule(rf"attention\.{level}\.{ours}\.(.+)", (source,)))
        for part, unit in (("lateral", 1), ("refine", 2)):
            source = f"path{4 - level}.resConfUnit{unit}.{{0}}"
            rules.append(Rule(rf"pyramid\.steps\.{level}\.{part}\.(.+)", (source,)))
    return rules


_RULES = _rules()


def detect(state: dict[str, Tensor]) -> bool:
    """Whether weights are TPAVI's, by the names of the tensors."""
    return "conv1.conv2d_list.0.weight" in state and "output_conv.4.weight" in state


def sizes(state: dict[str, Tensor], config: dict | None = None) -> dict:
    """What the tensors say of the model, as arguments of `build`: its preset, task, classes and sizes.

    Args:
        config: Settings that count more, by name; see `presets.py`.
    Raises: ValueError: If too few tensors are there to tell.
    """
    try:
        outputs = len(state["output_conv.4.weight"])
        levels = [level for level in range(4) if f"tpavi_b{level + 1}.g.weight" in state]
        return {
            "preset": "r50" if "resnet.conv1.weight" in state else "pvt",
            "task": "avs" if outputs == 1 else "avss",
            "num_classes": max(outputs, 2),
            "audio_dim": state[f"tpavi_b{levels[0] + 1}.align_channel.weight"].shape[1] if levels else None,
            "hidden_dim": len(state["conv1.conv2d_list.0.weight"]),
            "head_hidden": [len(state["output_conv.0.weight"]), len(state["output_conv.2.weight"])],
            "attention_levels": levels,
            **backbone_settings(state, "encoder_backbone."),
            **(config or {}),
        }
    except (KeyError, IndexError) as error:
        raise ValueError(f"the checkpoint of TPAVI is not whole: {error} is missing") from error


def build(config: dict) -> SegmentationModel:
    """Build TPAVI with random weights, as released: without a use of a prior.

    Args:
        config: As `sizes` gives it; any setting of the preset may be added.
    """
    return create_model("tpavi", **{"prior_fusion": False, **config})


def convert(state: dict[str, Tensor], model: SegmentationModel) -> tuple[dict[str, Tensor], Report]:
    """Rename a released checkpoint's weights for TPAVI.

    Args:
        state: As the released code saves it.
        model: TPAVI with the file's backbone; other parts of it are reported as missing.
    Returns: Tensors under our names, and what matched, is missing or was not used.
    """
    # 1x1x1 convolutions over frames become 1x1 ones, as no frame needs its neighbours for them.
    flat = {name: tensor[..., 0] if tensor.ndim == 5 else tensor for name, tensor in state.items()}
    rules = resnet_rules if "resnet.conv1.weight" in state else pvt_rules
    prefix = "resnet." if rules is resnet_rules else "encoder_backbone."
    return convert_with_rules(flat, model, [*_RULES, *rules(_BACKBONE, prefix)], dead=DEAD)
