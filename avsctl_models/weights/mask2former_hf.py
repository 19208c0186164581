"""Mask2Former with a Swin backbone, as Hugging Face names its weights and sizes."""

from __future__ import annotations

from torch import Tensor, nn

from avsctl_models.contract import SegmentationModel
from avsctl_models.registry import create_model
from avsctl_models.weights.mapping import Report, Rule, convert_with_rules

RECOMPUTED = ("relative_position_index", "criterion.empty_weight")

_E = "model.pixel_level_module.encoder."
_D = "model.pixel_level_module.decoder."
_T = "model.transformer_module."
BLOCK = r"backbone\.layers\.(\d+)\.blocks\.(\d+)\."
HF_BLOCK = _E + "encoder.layers.{0}.blocks.{1}."
PIXEL = r"pixel_decoder\.layers\.(\d+)\."
HF_PIXEL = _D + "encoder.layers.{0}."
LAYER = r"decoder\.layers\.(\d+)\."
HF_LAYER = _T + "decoder.layers.{0}."
_KIND = r"\.(weight|bias)"


_PLAIN = {
    # backbone
    r"backbone\.patch_embed\.proj" + _KIND: _E + "embeddings.patch_embeddings.projection.{0}",
    r"backbone\.patch_embed\.norm" + _KIND: _E + "embeddings.norm.{0}",
    BLOCK + "norm1" + _KIND: HF_BLOCK + "layernorm_before.{2}",
    BLOCK + "norm2" + _KIND: HF_BLOCK + "layernorm_after.{2}",
    BLOCK + r"attn\.relative_position_bias_table": HF_BLOCK + "attention.self.relative_position_bias_table",
    BLOCK + r"attn\.proj(?:\.projection)?" + _KIND: HF_BLOCK + "attention.output.dense.{2}",
    BLOCK + r"mlp\.fc1" + _KIND: HF_BLOCK + "intermediate.dense.{2}",
    BLOCK + r"mlp\.fc2(?:\.projection)?" + _KIND: HF_BLOCK + "output.dense.{2}",
    # pixel decoder
    r"pixel_decoder\.level_embedding": _D + "level_embed",
    r"pixel_decoder\.projections\.(\d)\.(\d)" + _KIND: _D + "input_projections.{0}.{1}.{2}",
    PIXEL + r"attention\.offsets" + _KIND: HF_PIXEL + "self_attn.sampling_offsets.{1}",
    PIXEL + r"attention\.weights" + _KIND: HF_PIXEL + "self_attn.attention_weights.{1}",
    PIXEL + r"attention\.value" + _KIND: HF_PIXEL + "self_attn.value_proj.{1}",
    PIXEL + r"attention\.output(?:\.projection)?" + _KIND: HF_PIXEL + "self_attn.output_proj.{1}",
    PIXEL + "attention_norm" + _KIND: HF_PIXEL + "self_attn_layer_norm.{1}",
    PIXEL + r"(fc1|fc2)" + _KIND: HF_PIXEL + "{1}.{2}",
    PIXEL + "final_norm" + _KIND: HF_PIXEL + "final_layer_norm.{1}",
    # what follows is called adapter_1 there, but it is the pyramid's lateral convolution
    r"pixel_decoder\.lateral\.(\d)" + _KIND: _D + "adapter_1.{0}.{1}",
    r"pixel_decoder\.smooth\.(\d)" + _KIND: _D + "layer_1.{0}.{1}",
    r"pixel_decoder\.mask_features" + _KIND: _D + "mask_projection.{0}",
    # transformer decoder
    r"queries\.features": _T + "queries_features.weight",
    r"queries\.positions": _T + "queries_embedder.weight",
    r"decoder\.level_embedding": _T + "level_embed.weight",
    LAYER + r"self_attention\.query" + _KIND: HF_LAYER + "self_attn.q_proj.{1}",
    LAYER + r"self_attention\.key" + _KIND: HF_LAYER + "self_attn.k_proj.{1}",
    LAYER + r"self_attention\.value" + _KIND: HF_LAYER + "self_attn.v_proj.{1}",
    LAYER + r"self_attention\.output(?:\.projection)?" + _KIND: HF_LAYER + "self_attn.out_proj.{1}",
    LAYER + "self_norm" + _KIND: HF_LAYER + "self_attn_layer_norm.{1}",
    LAYER + r"cross_attention\.output" + _KIND: HF_LAYER + "cross_attn.out_proj.{1}",
    LAYER + "cross_norm" + _KIND: HF_LAYER + "cross_attn_layer_norm.{1}",
    LAYER + r"(fc1|fc2)" + _KIND: HF_LAYER + "{1}.{2}",
    LAYER + "final_norm" + _KIND: HF_LAYER + "final_layer_norm.{1}",
    r"decoder\.norm" + _KIND: _T + "decoder.layernorm.{0}",
    r"decoder\.class_head" + _KIND: "class_predictor.{0}",
}


def _rules() -> list[Rule]:
    rules = [Rule(pattern, (source,)) for pattern, source in _PLAIN.items()]
    qkv = tuple(HF_BLOCK + "attention.self." + part + ".{2}" for part in ("query", "key", "value"))
    rules.append(Rule(BLOCK + r"attn\.qkv" + _KIND, qkv))
    for part, name in enumerate(("query", "key", "value")):
        pattern = LAYER + rf"cross_attention\.{name}" + _KIND
        rules.append(Rule(pattern, (HF_LAYER + "cross_attn.in_proj_{1}",), rows=(part, 3)))
    for stage in range(4):
        source = _E + f"hidden_states_norms.stage{stage + 1}.{{0}}"
        rules.append(Rule(rf"backbone\.norms\.{stage}" + _KIND, (source,)))
    for stage in range(1, 4):  # timm shrinks maps at a stage's start, others at the end of the one before
        source = _E + f"encoder.layers.{stage - 1}.downsample.{{0}}.{{1}}"
        rules.append(Rule(rf"backbone\.layers\.{stage}\.downsample\.(norm|reduction)" + _KIND, (source,)))
    for index in range(3):
        source = _T + f"decoder.mask_predictor.mask_embedder.{index}.0.{{0}}"
        rules.append(Rule(rf"decoder\.mask_head\.{2 * index}" + _KIND, (source,)))
    return rules


RULES = tuple(_rules())

_PUBLISHED = {
    "image_size": 384,
    "backbone": {
        "embed_dim": 128,
        "depths": [2, 2, 18, 2],
        "num_heads": [4, 8, 16, 32],
        "window_size": 12,
        "drop_path_rate": 0.3,
    },
}

_SUPPORTED = {
    "pre_norm": False,
    "enforce_input_projection": False,
    "activation_function": "relu",
    "common_stride": 4,
    "feature_strides": [4, 8, 16, 32],
}
_SUPPORTED_SWIN = {"patch_size": 4, "hidden_act": "gelu", "use_absolute_embeddings": False}


def convert(state: dict[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], Report]:
    """Rename and rearrange a Hugging Face Mask2Former's weights for one of our models.

    Args:
        state: As `Mask2FormerForUniversalSegmentation` saves it.
        model: AAVS with a Swin backbone; parts that Mask2Former lacks are reported as missing.
    Returns: Tensors under our names, and what matched, is missing or was not used.
    """
    return convert_with_rules(state, model, RULES, recomputed=RECOMPUTED)


def sizes(state: dict[str, Tensor], config: dict | None) -> dict:
    """Complete a config by what the tensors say: classes, queries, and widths of the audio projection.

    Args:
        config: As `settings_from_config` takes it; None for the published sizes.
    """
    if config is None:
        config = {**_PUBLISHED, "mask2former": {"num_queries": _rows(state, "queries_features.weight")}}
    numbers: dict = {}
    if "id2label" not in config:
        numbers["num_labels"] = max(_rows(state, "class_predictor.bias") - 1, 1)
    first, last = (
        next((tensor.shape for name, tensor in state.items() if name.endswith(f"audio_proj.{index}.weight")), None)
        for index in (0, 2)
    )
    if first and last and len(first) == len(last) == 2:
        numbers["audio_proj"] = [first[1], first[0], last[0]]
    return {**numbers, **config}


def settings_from_config(config: dict) -> dict:
    """Read our settings from a Hugging Face `config.json`, or one with "backbone" and "mask2former" apart.

    Args:
        config: With the sizes of Mask2Former and, under "backbone_config" or "backbone", of its Swin; what is
            not said has Hugging Face's default.
    Returns: Overrides for `create_model("aavs", preset="swin-b-384", …)`.
    Raises: ValueError: If the backbone is no Swin, or a setting asks for what our model doesn't do.
    """
    main = config.get("mask2former", config)
    swin = config.get("backbone_config") or config.get("backbone")
    if not isinstance(swin, dict) or swin.get("model_type", "swin") != "swin":
        raise ValueError("The config describes no Swin backbone (no backbone_config with model_type swin)")
    _refuse_other_than(main, _SUPPORTED)
    _refuse_other_than(swin, _SUPPORTED_SWIN)
    if main.get("feature_size", 256) != main.get("hidden_dim", 256):
        raise ValueError("The config's feature_size and hidden_dim differ; this model has one size for both")
    depths, window = swin.get("depths", [2, 2, 6, 2]), swin.get("window_size", 7)
    return {
        "image_size": config.get("image_size", swin.get("patch_size", 4) * 2 ** (len(depths) - 1) * window),
        "backbone_options": {
            "embed_dim": swin.get("embed_dim", 96),
            "depths": list(depths),
            "num_heads": list(swin.get("num_heads", [3, 6, 12, 24])),
            "window_size": window,
            "mlp_ratio": swin.get("mlp_ratio", 4.0),
            "qkv_bias": swin.get("qkv_bias", True),
        },
        "drop_path": swin.get("drop_path_rate", 0.1),
        "hidden_dim": main.get("hidden_dim", 256),
        "mask_dim": main.get("mask_feature_size", 256),
        "pixel_layers": main.get("encoder_layers", 6),
        "pixel_hidden": main.get("encoder_feedforward_dim", 1024),
        "heads": main.get("num_attention_heads", 8),
        "decoder_layers": main.get("decoder_layers", 10) - 1,  # its count includes the prediction before
        "decoder_hidden": main.get("dim_feedforward", 2048),
        "queries": main.get("num_queries", 100),
        "loss_points": main.get("train_num_points", 12544),
    }


def class_count(config: dict) -> int:
    """Number of classes K that a config speaks of, the background among them.

    Raises: ValueError: If it says none.
    """
    if "num_labels" in config:
        return int(config["num_labels"])
    if "id2label" in config:
        return len(config["id2label"])
    raise ValueError("The config says no number of classes (neither num_labels nor id2label)")


def build(config: dict) -> SegmentationModel:
    """Build plain Mask2Former, which hears nothing, in the sizes of a config, with random weights."""
    return create_model(
        "aavs",
        preset="swin-b-384",
        task="avss",
        num_classes=class_count(config),
        audio_dim=None,
        **{
            **settings_from_config(config),
            "adapters": "none",
            "backbone_adapters": False,
            "prior_fusion": False,
            "prior_mask": False,
            "prior_keys": False,
        },
    )


def _refuse_other_than(config: dict, supported: dict) -> None:
    for name, value in supported.items():
        if config.get(name, value) != value:
            raise ValueError(f"The config asks for {name}={config[name]!r}; this model has only {value!r}")


def _rows(state: dict[str, Tensor], ending: str) -> int:
    return next((len(tensor) for name, tensor in state.items() if name.endswith(ending) and tensor.ndim), 0)
