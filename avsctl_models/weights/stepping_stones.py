"""Released checkpoints of Stepping Stones (ECCV 2024), of either stage."""

from __future__ import annotations

from torch import Tensor, nn

from avsctl_models.contract import SegmentationModel
from avsctl_models.registry import create_model
from avsctl_models.weights import mask2former_hf
from avsctl_models.weights.mapping import Report, Rule, convert_with_rules

TASKS = {"stepping-stones-avs": "avs", "stepping-stones-avss": "avss"}

DEAD = tuple(f".self_attn.{name}.{kind}" for name in ("output_proj", "out_proj") for kind in ("weight", "bias"))
"""Endings of names that stage 1's files hold and its model doesn't use: adapters stand in their place."""

_KEY_STATES = ("silence_embed", "uncertain_embed", "audio_embed")
_ADAPTED = (
    (
        mask2former_hf.BLOCK + r"attn\.proj",
        mask2former_hf.HF_BLOCK + "attention.output.swin_adapt_1",
    ),
    (mask2former_hf.BLOCK + r"mlp\.fc2", mask2former_hf.HF_BLOCK + "output.swin_adapt_3"),
    (mask2former_hf.PIXEL + r"attention\.output", mask2former_hf.HF_PIXEL + "self_attn.avs_adapt"),
    (mask2former_hf.LAYER + r"self_attention\.output", mask2former_hf.HF_LAYER + "self_attn.avs_adapt"),
)


def _rules() -> list[Rule]:
    rules = [Rule(r"audio_projection\.(\d)\.(weight|bias)", ("audio_proj.{0}.{1}",))]
    sources = tuple(f"model.transformer_module.{state}.weight" for state in _KEY_STATES)
    rules.append(Rule(r"prior_keys\.embeddings", sources))
    for ours, theirs in _ADAPTED:
        kind = theirs.count("{")  # number of groups before the adapter's own
        for layer, index in (("down", 0), ("up", 2)):
            source = f"{theirs}.{index}.{{{kind}}}"
            rules.append(Rule(rf"{ours}\.adapter\.{layer}\.(weight|bias)", (source,)))
    return rules


RULES = (*_rules(), *mask2former_hf.RULES)


def convert(state: dict[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], Report]:
    """Rename and rearrange a released checkpoint's weights for AAVS of the same stage.

    In stage 1, adapters replace output projections: those of the file are reported as dead.

    Args:
        state: As the released code saves it, with or without the outer "model.".
        model: AAVS with a Swin backbone.
    Returns: Tensors under our names, and what matched, is missing or was not used.
    """
    dead = DEAD if detect(state) == "stepping-stones-avs" else ()
    recomputed = mask2former_hf.RECOMPUTED
    return convert_with_rules(_without_wrapper(state), model, RULES, recomputed=recomputed, dead=dead)


def build(config: dict, *, task: str) -> SegmentationModel:
    """Build AAVS of a stage in the sizes of a config, with random weights.

    Args:
        config: As `mask2former_hf.settings_from_config` takes it; "audio_proj" may give the widths of the
            audio projection, which are 128, 512 and 256 otherwise.
        task: "avs" (stage 1) or "avss" (stage 2).
    """
    audio = config.get("audio_proj") or [128, 512, config.get("hidden_dim", 256)]
    settings = mask2former_hf.settings_from_config(config)
    return create_model(
        "aavs",
        preset="swin-b-384",
        task=task,
        num_classes=mask2former_hf.class_count(config),
        audio_dim=audio[0],
        **settings,
        audio_hidden=audio[1],
    )


def detect(state: dict[str, Tensor]) -> str | None:
    """Guess where weights come from by the names of their tensors.

    Returns: "stepping-stones-avs", "stepping-stones-avss", "mask2former-hf", or None for anything else.
    """
    names = set(_without_wrapper(state))
    if not any(name.startswith("model.pixel_level_module.") for name in names):
        return None
    if not any(".avs_adapt." in name for name in names):
        return "mask2former-hf"
    prior = any(f"model.transformer_module.{state}.weight" in names for state in _KEY_STATES)
    return "stepping-stones-avss" if prior else "stepping-stones-avs"


def _without_wrapper(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if not any(name.startswith("model.model.") for name in state):
        return state
    return {name.removeprefix("model."): tensor for name, tensor in state.items()}
