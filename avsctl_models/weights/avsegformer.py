"""Released checkpoints of AVSegFormer, for S4, MS3 and AVSS."""

from __future__ import annotations

from torch import Tensor

from avsctl_models.contract import SegmentationModel
from avsctl_models.registry import create_model
from avsctl_models.weights.mapping import Report, Rule, convert_with_rules
from avsctl_models.weights.official_backbones import (
    RESNET_DEAD,
    backbone_settings,
    count_layers,
    pvt_rules,
    resnet_rules,
)

SOURCE = "avsegformer"
DEAD = ("head.fpn.", "head.attn_fc.", *(f"backbone.{name}" for name in RESNET_DEAD))
"""Beginnings of names that the files hold and the released model never uses."""
SOUND = ("vggish.",)
"""Beginnings of names that belong to VGGish, which the files carry along."""

_BACKBONE = r"backbone\.network\."
_GENERATOR = (r"generator\.layers\.(\d+)\.", "head.query_generator.layers.{0}.", ("ffn.0", "ffn.2"))
_DECODER = (r"layers\.(\d+)\.", "head.transformer.decoder.layers.{0}.", ("linear1", "linear2"))
_ENCODER = (r"pixel_decoder\.layers\.(\d+)\.", "head.transformer.encoder.layers.{0}.")
_PLAIN = {
    r"audio_projection\.(.+)": "audio_proj.{0}",
    r"queries": "head.learnable_query.weight",
    r"generator\.queries": "head.query_generator.query.weight",
    r"pixel_decoder\.level_embedding": "head.level_embed",
    r"pixel_decoder\.projections\.(.+)": "head.in_proj.{0}",
    r"pixel_decoder\.lateral\.(.+)": "head.lateral_conv.{0}",
    r"pixel_decoder\.smooth\.(.+)": "head.out_conv.{0}",
    r"mixer\.attention\.query\.(.+)": "head.fusion_block.q_proj.{0}",
    r"mixer\.attention\.output\.(.+)": "head.fusion_block.proj.{0}",
    r"head\.reduce\.(.+)": "head.fc.0.{0}",
    r"head\.refine\.(.+)": "head.fc.2.{0}",
    r"head\.classify\.(.+)": "head.fc.4.{0}",
}


def _rules() -> list[Rule]:
    rules = [Rule(ours, (theirs,)) for ours, theirs in _PLAIN.items()]
    rules += [Rule(rf"mask_mlp\.{2 * i}\.(.+)", (f"head.mlp.layers.{i}.{{0}}",)) for i in range(3)]
    for part, name in enumerate(("key", "value")):
        rules.append(Rule(rf"mixer\.attention\.{name}\.(.+)", ("head.fusion_block.kv_proj.{0}",), rows=(part, 2)))
    for ours, theirs, linears in (_GENERATOR, _DECODER):
        for mine, other in (("self_attention", "self_attn"), ("cross_attention", "cross_attn")):
            rules.append(Rule(rf"{ours}{mine}\.output\.(.+)", (theirs + other + ".out_proj.{1}",)))
            for part, name in enumerate(("query", "key", "value")):
                source = theirs + other + ".in_proj_{1}"
                rules.append(Rule(rf"{ours}{mine}\.{name}\.(.+)", (source,), rows=(part, 3)))
        names = {"self_norm": "norm1", "cross_norm": "norm2", "final_norm": "norm3", "fc1": linears[0]}
        names["fc2"] = linears[1]
        rules += [Rule(rf"{ours}{mine}\.(.+)", (theirs + other + ".{1}",)) for mine, other in names.items()]
    names = {f"attention.{name}": f"self_attn.{name}_proj" for name in ("value", "output")}
    names |= {"attention.offsets": "self_attn.sampling_offsets", "attention.weights": "self_attn.attention_weights"}
    names |= {"attention_norm": "norm1", "final_norm": "norm2", "fc1": "linear1", "fc2": "linear2"}
    ours, theirs = _ENCODER
    return rules + [Rule(rf"{ours}{mine}\.(.+)", (theirs + other + ".{1}",)) for mine, other in names.items()]


_RULES = _rules()


def detect(state: dict[str, Tensor]) -> bool:
    """Whether weights are AVSegFormer's, by the names of the tensors."""
    return "head.query_generator.query.weight" in state and "head.fc.4.weight" in state


def sizes(state: dict[str, Tensor], config: dict | None = None) -> dict:
    """What the tensors say of the model, as arguments of `build`: its preset, task, classes and sizes.

    Args:
        config: Settings that count more, by name; see `presets.py`.
    Raises: ValueError: If too few tensors are there to tell.
    """
    try:
        outputs = len(state["head.fc.4.weight"])
        queries, dim = state["head.query_generator.query.weight"].shape
        return {
            "preset": "r50" if "backbone.conv1.weight" in state else "pvt",
            "task": "avs" if outputs == 1 else "avss",
            "num_classes": max(outputs, 2),
            "audio_dim": state["audio_proj.weight"].shape[1],
            "hidden_dim": dim,
            "queries": queries,
            "generator_layers": count_layers(state, "head.query_generator.layers."),
            "generator_hidden": len(state["head.query_generator.layers.0.ffn.0.weight"]),
            "pixel_layers": count_layers(state, "head.transformer.encoder.layers."),
            "pixel_hidden": len(state["head.transformer.encoder.layers.0.linear1.weight"]),
            "decoder_layers": count_layers(state, "head.transformer.decoder.layers."),
            "decoder_hidden": len(state["head.transformer.decoder.layers.0.linear1.weight"]),
            "mask_hidden": len(state["head.mlp.layers.0.weight"]),
            "head_hidden": [len(state["head.fc.0.weight"]), len(state["head.fc.2.weight"])],
            **backbone_settings(state, "backbone."),
            **(config or {}),
        }
    except KeyError as error:
        raise ValueError(f"the checkpoint of AVSegFormer is not whole: {error} is missing") from error


def build(config: dict) -> SegmentationModel:
    """Build AVSegFormer with random weights, as released: without a use of a prior.

    Args:
        config: As `sizes` gives it; any setting of the preset may be added.
    """
    return create_model("avsegformer", **{"prior_fusion": False, **config})


def convert(state: dict[str, Tensor], model: SegmentationModel) -> tuple[dict[str, Tensor], Report]:
    """Rename and rearrange a released checkpoint's weights for AVSegFormer.

    Args:
        state: As the released code saves it, VGGish included or not.
        model: AVSegFormer with the file's backbone; other parts of it are reported as missing.
    Returns: Tensors under our names, and what matched, is missing, was not used, or belongs to VGGish.
    """
    rules = resnet_rules if "backbone.conv1.weight" in state else pvt_rules
    every = [*_RULES, *rules(_BACKBONE, "backbone.")]
    return convert_with_rules(state, model, every, dead=DEAD, sound=SOUND)
