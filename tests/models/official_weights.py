"""Random weights of any size under the names of the released files, written out from their published list."""

from __future__ import annotations

import torch
from torch import Tensor

SMALL = {
    "num_labels": 4,
    "image_size": 128,
    "backbone": {
        "embed_dim": 18,
        "depths": [1, 2, 1, 2],
        "num_heads": [2, 4, 4, 8],
        "window_size": 4,
        "mlp_ratio": 2.0,
        "qkv_bias": True,
        "drop_path_rate": 0.3,
    },
    "mask2former": {
        "feature_size": 96,
        "mask_feature_size": 64,
        "hidden_dim": 96,
        "encoder_feedforward_dim": 80,
        "encoder_layers": 3,
        "decoder_layers": 4,
        "num_attention_heads": 8,
        "dim_feedforward": 72,
        "num_queries": 7,
        "train_num_points": 96,
    },
    "audio_proj": [128, 48, 96],
}
"""No size equals another that it could be taken for, or one of the public set."""


def official_weights(config: dict, kind: str, seed: int = 0) -> dict[str, Tensor]:
    """Weights of "plain" Mask2Former, or of Stepping Stones' "avs" or "avss" with their outer "model."."""
    shapes = {**_swin(config, kind), **_pixel_decoder(config, kind), **_decoder(config, kind)}
    if kind != "plain":
        inputs, hidden, outputs = config["audio_proj"]
        shapes = {f"model.{name}": shape for name, shape in shapes.items()}
        shapes |= _linear("audio_proj.0", inputs, hidden) | _linear("audio_proj.2", hidden, outputs)
    generator = torch.Generator().manual_seed(seed)
    return {name: _draw(name, shape, generator) for name, shape in shapes.items()}


def _draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if len(shape) == 1:
        noise = torch.rand(shape, generator=generator) - 0.5
        return noise * 0.6 + (1 if "norm" in name and name.endswith("weight") else 0)
    width = shape[-1] if len(shape) == 2 else shape[1] * shape[2] * shape[3]
    return torch.randn(shape, generator=generator) * (1.2 / width**0.5)


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _adapter(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return _linear(f"{name}.0", width, width // 4) | _linear(f"{name}.2", width // 4, width)


def _swin(config: dict, kind: str) -> dict[str, tuple[int, ...]]:
    swin = config["backbone"]
    width, window = swin["embed_dim"], swin["window_size"]
    root = "model.pixel_level_module.encoder."
    shapes = {f"{root}embeddings.patch_embeddings.projection.weight": (width, 3, 4, 4)}
    shapes[f"{root}embeddings.patch_embeddings.projection.bias"] = (width,)
    shapes |= _norm(f"{root}embeddings.norm", width)
    for stage, (depth, heads) in enumerate(zip(swin["depths"], swin["num_heads"], strict=True)):
        dim, hidden = width * 2**stage, int(width * 2**stage * swin["mlp_ratio"])
        for block in range(depth):
            name = f"{root}encoder.layers.{stage}.blocks.{block}."
            shapes |= _norm(f"{name}layernorm_before", dim) | _norm(f"{name}layernorm_after", dim)
            shapes[f"{name}attention.self.relative_position_bias_table"] = ((2 * window - 1) ** 2, heads)
            for part in ("query", "key", "value"):
                shapes |= _linear(f"{name}attention.self.{part}", dim, dim)
            shapes |= _linear(f"{name}attention.output.dense", dim, dim)
            shapes |= _linear(f"{name}intermediate.dense", dim, hidden)
            shapes |= _linear(f"{name}output.dense", hidden, dim)
            if kind != "plain":
                shapes |= _adapter(f"{name}attention.output.swin_adapt_1", dim)
                shapes |= _adapter(f"{name}output.swin_adapt_3", dim)
        if stage < 3:
            shapes |= _norm(f"{root}encoder.layers.{stage}.downsample.norm", 4 * dim)
            shapes[f"{root}encoder.layers.{stage}.downsample.reduction.weight"] = (2 * dim, 4 * dim)
        shapes |= _norm(f"{root}hidden_states_norms.stage{stage + 1}", dim)
    return shapes


def _pixel_decoder(config: dict, kind: str) -> dict[str, tuple[int, ...]]:
    sizes, width = config["mask2former"], config["backbone"]["embed_dim"]
    dim, heads, hidden = sizes["hidden_dim"], sizes["num_attention_heads"], sizes["encoder_feedforward_dim"]
    root = "model.pixel_level_module.decoder."
    shapes: dict[str, tuple[int, ...]] = {f"{root}level_embed": (3, dim)}
    for level in range(3):
        shapes[f"{root}input_projections.{level}.0.weight"] = (dim, width * 2 ** (3 - level), 1, 1)
        shapes[f"{root}input_projections.{level}.0.bias"] = (dim,)
        shapes |= _norm(f"{root}input_projections.{level}.1", dim)
    for layer in range(sizes["encoder_layers"]):
        name = f"{root}encoder.layers.{layer}."
        shapes |= _linear(f"{name}self_attn.sampling_offsets", dim, heads * 3 * 4 * 2)
        shapes |= _linear(f"{name}self_attn.attention_weights", dim, heads * 3 * 4)
        shapes |= _linear(f"{name}self_attn.value_proj", dim, dim) | _linear(f"{name}self_attn.output_proj", dim, dim)
        shapes |= _norm(f"{name}self_attn_layer_norm", dim) | _norm(f"{name}final_layer_norm", dim)
        shapes |= _linear(f"{name}fc1", dim, hidden) | _linear(f"{name}fc2", hidden, dim)
        if kind != "plain":
            shapes |= _adapter(f"{name}self_attn.avs_adapt", dim)
    shapes[f"{root}mask_projection.weight"] = (sizes["mask_feature_size"], dim, 1, 1)
    shapes[f"{root}mask_projection.bias"] = (sizes["mask_feature_size"],)
    shapes[f"{root}adapter_1.0.weight"] = (dim, width, 1, 1)
    shapes[f"{root}layer_1.0.weight"] = (dim, dim, 3, 3)
    return shapes | _norm(f"{root}adapter_1.1", dim) | _norm(f"{root}layer_1.1", dim)


def _decoder(config: dict, kind: str) -> dict[str, tuple[int, ...]]:
    sizes = config["mask2former"]
    dim, hidden, classes = sizes["hidden_dim"], sizes["dim_feedforward"], config["num_labels"] + 1
    root = "model.transformer_module."
    shapes: dict[str, tuple[int, ...]] = {f"{root}level_embed.weight": (3, dim)}
    for name in ("queries_embedder", "queries_features"):
        shapes[f"{root}{name}.weight"] = (sizes["num_queries"], dim)
    for layer in range(sizes["decoder_layers"] - 1):
        name = f"{root}decoder.layers.{layer}."
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes |= _linear(f"{name}self_attn.{part}", dim, dim)
        shapes[f"{name}cross_attn.in_proj_weight"] = (3 * dim, dim)
        shapes[f"{name}cross_attn.in_proj_bias"] = (3 * dim,)
        shapes |= _linear(f"{name}cross_attn.out_proj", dim, dim)
        for norm in ("self_attn_layer_norm", "cross_attn_layer_norm", "final_layer_norm"):
            shapes |= _norm(f"{name}{norm}", dim)
        shapes |= _linear(f"{name}fc1", dim, hidden) | _linear(f"{name}fc2", hidden, dim)
        if kind != "plain":
            shapes |= _adapter(f"{name}self_attn.avs_adapt", dim)
    shapes |= _norm(f"{root}decoder.layernorm", dim)
    for index, outputs in enumerate((dim, dim, sizes["mask_feature_size"])):
        shapes |= _linear(f"{root}decoder.mask_predictor.mask_embedder.{index}.0", dim, outputs)
    if kind == "avss":
        for state in ("audio", "silence", "uncertain"):
            shapes[f"{root}{state}_embed.weight"] = (1, dim)
    shapes |= _linear("class_predictor", dim, classes)
    return shapes | {"criterion.empty_weight": (classes,)}
