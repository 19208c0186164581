"""Largest differences between our TPAVI and AVSegFormer and tensors that the released code gave for random weights."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from golden_parity import Errors
from hash_fill import normal, released_tensor
from safetensors.torch import load_file
from torch import Tensor, nn

from avsctl_models import DenseOutput, SegmentationModel, semantic_inference
from avsctl_models.audio_mixer import AudioMixer
from avsctl_models.decoders import QueryGenerator, QueryLayer
from avsctl_models.pixel_decoders.deformable import (
    DeformableAttention,
    DeformableLayer,
    cell_centres,
    flatten_levels,
    level_positions,
    sample_levels,
)
from avsctl_models.positions import sine_positions
from avsctl_models.temporal_attention import TemporalAttention, window_means
from avsctl_models.weights import avsbench, avsegformer
from avsctl_models.weights.mapping import Report

FOLDER = Path(__file__).parents[1] / "data" / "golden" / "baselines"
MODULES = {"tpavi": avsbench, "avsegformer": avsegformer}
SIGNED = {"audio_relu": False}  # the recorded audio of small models has negative values
SMALL_PVT = {"embed_dims": [12, 16, 20, 24], "depths": [1] * 4, "num_heads": [1] * 4}  # not run, only its widths
FULL = {
    "avsbench_full_r50_s4": ("tpavi", "avsbench_avs_s4_ResNet", 5, 224),
    "avsbench_full_pvt_s4": ("tpavi", "avsbench_avs_s4_PVT", 5, 224),
    "avsbench_full_pvt_avss": ("tpavi", "avsbench_avss_PVT", 10, 224),
    "avsegformer_full_pvt_avss": ("avsegformer", "avsegformer_avss_pvt2", 3, 224),
    "avsegformer_full_r50_ms3": ("avsegformer", "avsegformer_ms3_res50", 2, 512),
    "avsegformer_full_pvt_s4": ("avsegformer", "avsegformer_s4_pvt2", 2, 512),
}
"""Our model, the released one's table of names, and its frames' number and side."""
LEVEL_SIZES = [(6, 7), (3, 4), (2, 2)]


@lru_cache
def key_tables() -> dict[str, dict[str, list[int]]]:
    """Names and shapes of all tensors of the twelve released models."""
    return json.loads(gzip.decompress((FOLDER / "state_dict_keys.json.gz").read_bytes()))


def golden(name: str) -> dict[str, Tensor]:
    """The recorded tensors of a case."""
    return load_file(FOLDER / f"{name}.safetensors")


def weights_of(tensors: dict[str, Tensor], prefix: str = "w.") -> dict[str, Tensor]:
    """The released model's weights among recorded tensors."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def released_model(state: dict[str, Tensor], name: str, config: dict) -> tuple[SegmentationModel, Report]:
    """Our model filled with released weights as far as there are some, in eval mode."""
    source = MODULES[name]
    model = source.build(source.sizes(state, config))
    converted, report = source.convert(state, model)
    model.load_state_dict(converted, strict=False)
    return model.eval(), report


def fill_part(part: nn.Module, model: str, ours: str, theirs: str, state: dict[str, Tensor]) -> nn.Module:
    """Fill a part of a model by the importer's rules, as if it stood at its place; in eval mode."""
    holder = part
    for name in reversed(ours.split(".")):
        holder = nn.ModuleDict({name: holder})
    named = {theirs + name: tensor for name, tensor in state.items()}
    converted, report = MODULES[model].convert(named, holder)
    assert report.complete and not report.unused and not report.dead, report
    holder.load_state_dict(converted)
    return part.eval()


@torch.no_grad()
def block_errors() -> dict[str, tuple[float, float]]:
    """Errors of TPAVI's attention alone."""
    errors, tensors = Errors(), golden("tpavi_block")
    for case in ("s4", "avss"):
        block = TemporalAttention(16, 128, audio_bias=case == "s4")
        fill_part(block, "tpavi", "attention.0", "tpavi_b1.", weights_of(tensors, f"{case}.w."))
        x = tensors[f"{case}.x"]
        maps, means = x.transpose(1, 2).flatten(0, 1), window_means([5, 5], 5, like=x)
        sound = block.audio(tensors[f"{case}.audio"].flatten(0, 1))
        errors.add("audio features", sound, tensors[f"{case}.audio_temp"].flatten(0, 1))
        for group, heard, wanted in (("attention to sound", sound, "va"), ("attention among pixels", None, "vv")):
            made = block(maps, means, heard).unflatten(0, (2, 5)).transpose(1, 2)
            errors.add(group, made, tensors[f"{case}.z_{wanted}"])
    return errors.groups


@torch.no_grad()
def tpavi_head_errors() -> dict[str, tuple[float, float]]:
    """Errors of all that follows TPAVI's backbone, for three choices of attention and two tasks."""
    errors, tensors = Errors(), golden("avsbench_head_binary")
    state, sizes = weights_of(tensors), {"backbone_options": SMALL_PVT, **SIGNED}
    both = {"attention": "both", "attention_levels": [2, 3]}
    none = {"attention_levels": [], "audio_dim": None}
    every = torch.ones(10, dtype=torch.bool)
    for case, change in (("va0123", {}), ("vvva23", both), ("notpavi", none)):
        model, _ = released_model(state, "tpavi", {**sizes, **change})
        audio = None if model.audio_dim is None else tensors["audio"]
        output = model.from_features(_maps(tensors), audio, lengths=[5, 5], size=(64, 64), intermediates=True)
        wanted = {name.removeprefix(f"{case}."): t for name, t in tensors.items() if name.startswith(f"{case}.")}
        _add_tpavi(errors, output, wanted, every)
        for level, projected in enumerate(output.intermediates["projected"]):
            errors.add("dilated convolutions", projected, tensors[f"conv{level + 1}_out"])
    unit = released_model(state, "tpavi", sizes)[0].pyramid.steps[3].lateral
    errors.add("residual unit", unit(tensors["rcu.in"]), tensors["rcu.out"])

    tensors = golden("avsbench_head_avss")
    model, _ = released_model(weights_of(tensors), "tpavi", sizes)
    real = tensors["vid_temporal_mask"].bool()
    maps = [m[real] for m in _maps(tensors)]
    output = model.from_features(maps, tensors["audio"][real], lengths=[10, 5], size=(32, 32), intermediates=True)
    _add_tpavi(errors, output, tensors, real)
    return errors.groups


@torch.no_grad()
def avsegformer_part_errors() -> dict[str, tuple[float, float]]:
    """Errors of AVSegFormer's blocks alone."""
    errors, tensors = Errors(), golden("avsegformer_parts")
    errors.add("deformable sampling", _sampled(tensors), tensors["msda.out"])
    encoder = ("pixel_decoder.layers.0", "head.transformer.encoder.layers.0.")
    places = {
        "msdam": (DeformableAttention(32, 8), f"{encoder[0]}.attention", f"{encoder[1]}self_attn."),
        "enc": (DeformableLayer(32, 8, 64, points=4, activation=F.gelu), *encoder),
        "dec": (QueryLayer(32, 8, 64), "layers.0", "head.transformer.decoder.layers.0."),
        "gen": (QueryGenerator(9, 32, hidden=48, layers=2), "generator", "head.query_generator."),
        "mix": (AudioMixer(32), "mixer", "head.fusion_block."),
    }
    for case, (part, ours, theirs) in places.items():
        fill_part(part, "avsegformer", ours, theirs, weights_of(tensors, f"{case}.w."))
    part = {case: place[0] for case, place in places.items()}
    centres = cell_centres(LEVEL_SIZES, torch.device("cpu"))
    query, tokens = tensors["msdam.query"], tensors["msdam.src"]
    made = {
        "msdam": part["msdam"](tokens, query - tokens, centres, LEVEL_SIZES),
        "enc": part["enc"](tokens, tensors["enc.pos"], centres, LEVEL_SIZES),
        "dec": part["dec"](tensors["dec.query"], tokens),
        "gen": part["gen"](tensors["gen.audio"][:, 0]),
        "mix": part["mix"](tensors["mix.map"], tensors["mix.audio"][:, 0]),
    }
    titles = ("deformable attention", "encoder layer", "decoder layer", "query generator", "mixer")
    for (case, ours), title in zip(made.items(), titles, strict=True):
        errors.add(title, ours, tensors[f"{case}.out"])
    errors.add("position code", sine_positions(3, 5, 32, normalized=False), tensors["sine_pe_3x5_nf16"])
    return errors.groups


@torch.no_grad()
def avsegformer_head_errors() -> dict[str, tuple[float, float]]:
    """Errors of all that follows AVSegFormer's backbone and the projection of its audio, for two tasks."""
    errors = Errors()
    for task in ("binary", "avss"):
        tensors = golden(f"avsegformer_head_{task}")
        model = _avsegformer_head(tensors)
        output = model.from_features(_maps(tensors), tensors["audio_feat"][:, 0], size=(64, 64), intermediates=True)
        inner, decoder = output.intermediates, model.pixel_decoder
        tokens, sizes = flatten_levels([decoder.projections[i](tensors[f"f{i}"]) for i in (1, 2, 3)])
        positions = level_positions(sizes, decoder.level_embedding, normalized=False)
        recorded = {
            "generated queries": (model.generator(tensors["audio_feat"][:, 0]), "queries_generated"),
            "tokens": (tokens, "src_flatten"),
            "token positions": (positions.expand_as(tokens), "pos_flatten"),
            "memory": (inner["memory"], "memory"),
            "last queries": (inner["queries_last"], "decoder_last"),
            "mask features before the mixer": (inner["mask_features"], "mask_feature_before_mixer"),
            "masks of queries": (inner["masks"], "pred_feature_in"),
            "refinement": (inner["refinement"], "pred_feature"),
            "mask features": (output.maps[0], "mask_feature"),
            "logits": (output.logits, "pred"),
        }
        for group, (ours, name) in recorded.items():
            errors.add(group, ours, tensors[name])
    return errors.groups


@torch.no_grad()
def whole_model_errors(name: str) -> dict[str, tuple[float, float]]:
    """Errors of whole small models of either task; frames that only fill a clip up are not given to ours."""
    errors = Errors()
    for task in ("s4", "avss"):
        tensors = golden(f"{'avsbench' if name == 'tpavi' else name}_tiny_pvt_{task}")
        model, report = released_model(weights_of(tensors), name, SIGNED)
        assert report.complete and not report.unused
        real = tensors.get("vid_temporal_mask", torch.ones(len(tensors["imgs"]))).bool()
        frames = tensors["imgs"][real]
        audio = tensors["audio" if name == "tpavi" else "audio_vggish"][real]
        for level, features in enumerate(model.backbone(frames)):
            if f"backbone_{level}" in tensors:
                errors.add("backbone maps", features, tensors[f"backbone_{level}"][real])
        output = model(frames, audio, lengths=[len(frames)])
        if "mask_feature" in tensors:
            errors.add("mask features", output.maps[0], tensors["mask_feature"][real])
        errors.add("logits", output.logits, tensors["pred"][real])
        # what AVSBench and AVSegFormer give for frames beyond a clip's end: silence or background
        assert not tensors["pred"][~real].any()
    return errors.groups


@torch.no_grad()
def full_size_errors(case: str, frames: int | None = None) -> dict[str, tuple[float, float]]:
    """Errors of a model of the published size, whose weights and inputs are made from their names.

    Args:
        case: Of `FULL`.
        frames: So many of the frames, of a model that looks at each alone; None for all.
    """
    name, table, count, side = FULL[case]
    shapes = {key: shape for key, shape in key_tables()[table].items() if not key.startswith("vggish.")}
    state = {key: released_tensor(key, tuple(shape)) for key, shape in shapes.items()}
    model, report = released_model(state, name, {})
    assert report.complete and not report.unused
    del state
    tensors, errors = golden(f"{case}_hashfill"), Errors()
    real = tensors.get("vid_temporal_mask", torch.ones(count)).bool()
    real[count if frames is None else frames :] = False
    pictures, audio = normal("full.imgs", count, 3, side, side)[real], normal("full.audio", count, 128).abs()[real]
    output = model(pictures, audio, lengths=[len(pictures)], intermediates=True)
    if name == "tpavi":
        _add_tpavi(errors, output, _thinned(tensors), real, thin=True)
    else:
        inner = output.intermediates
        errors.add("memory", inner["memory"][:, ::37, ::4], tensors["memory_sub"][real])
        errors.add("initial queries", inner["queries"][:, ::10], tensors["query_sub"][real])
        errors.add("last queries", inner["queries_last"][:, ::10], tensors["decoder_last_sub"][real])
        errors.add("mask features", output.maps[0][:, ::16, ::8, ::8], tensors["mask_feature_sub"][real])
    if "pred_sub" in tensors:
        errors.add("logits", output.logits[..., ::2, ::2], tensors["pred_sub"][real])
    if "argmax" in tensors:
        step = side // tensors["logits_sub"].shape[-1]
        errors.add("logits", output.logits[..., ::step, ::step], tensors["logits_sub"][real])
        maps = semantic_inference(output, (side, side))
        theirs = maps.gather(1, tensors["argmax"][real].long()[:, None])[:, 0]
        # Not which pixels: two classes may be equal but for rounding.
        errors.add("margin of pixels decided otherwise", theirs, maps.amax(1))
    return errors.groups


@torch.no_grad()
def prior_errors() -> dict[str, tuple[float, float]]:
    """Errors of both heads with a prior, against the released heads with Stepping Stones' rule put into them."""
    errors, wanted = Errors(), golden("stepping_stones_minimal_DERIVED")
    tensors = golden("avsbench_head_avss")
    sizes = {"backbone_options": SMALL_PVT, "prior_fusion": True, **SIGNED}
    model, _ = released_model(weights_of(tensors), "tpavi", sizes)
    real = tensors["vid_temporal_mask"].bool()
    given = [m[real] for m in _maps(tensors)], tensors["audio"][real], wanted["tpavi.mask"][real]
    output = model.from_features(*given, lengths=[10, 5], size=(32, 32))
    errors.add("TPAVI, logits", output.logits, wanted["tpavi.pred"][real])
    tensors = golden("avsegformer_head_avss")
    model = _avsegformer_head(tensors, prior_fusion=True)
    given = _maps(tensors), tensors["audio_feat"][:, 0], wanted["avsegformer.mask"]
    output = model.from_features(*given, size=(64, 64))
    errors.add("AVSegFormer, mask features", output.maps[0], wanted["avsegformer.mask_feature"])
    errors.add("AVSegFormer, logits", output.logits, wanted["avsegformer.pred"])
    return errors.groups


def every_error(full_size: bool) -> Iterator[tuple[str, dict[str, tuple[float, float]]]]:
    """Errors of all that was recorded, case by case; six models of the published sizes on request."""
    yield "TPAVI, attention", block_errors()
    yield "TPAVI, head", tpavi_head_errors()
    yield "TPAVI, small", whole_model_errors("tpavi")
    yield "AVSegFormer, blocks", avsegformer_part_errors()
    yield "AVSegFormer, head", avsegformer_head_errors()
    yield "AVSegFormer, small", whole_model_errors("avsegformer")
    yield "with a prior", prior_errors()
    for case in FULL if full_size else ():
        yield case.replace("_", " "), full_size_errors(case)


def _maps(tensors: dict[str, Tensor]) -> list[Tensor]:
    return [tensors[f"f{level}"] for level in range(4)]


def _add_tpavi(
    errors: Errors, output: DenseOutput, wanted: dict[str, Tensor], real: Tensor, *, thin: bool = False
) -> None:
    steps = {56: (16, 4), 28: (16, 4), 14: (16, 1), 7: (16, 1)}
    for level, ours in enumerate(output.intermediates["maps"]):
        if f"feature_map_{level}" in wanted:
            channels, pixels = steps[ours.shape[-1]] if thin else (1, 1)
            ours = ours[:, ::channels, ::pixels, ::pixels]
            errors.add("maps after attention", ours, wanted[f"feature_map_{level}"][real])
    heard = [f"a_fea_{level}" for level in range(4) if f"a_fea_{level}" in wanted]
    for ours, name in zip(output.sounds, heard, strict=False):
        errors.add("audio features", ours, wanted[name].flatten(0, 1)[real])
    if "pred" in wanted:
        errors.add("logits", output.logits, wanted["pred"][real])


def _thinned(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removesuffix("_sub") if name.startswith("feature") else name: t for name, t in tensors.items()}


def _avsegformer_head(tensors: dict[str, Tensor], **settings) -> SegmentationModel:
    """Our model with a recorded head; its audio is projected already, so that ours passes it through."""
    state = {f"head.{name}": tensor for name, tensor in weights_of(tensors).items()}
    state |= {"audio_proj.weight": torch.eye(32), "audio_proj.bias": torch.zeros(32)}
    model, report = released_model(state, "avsegformer", {"backbone_options": SMALL_PVT, **SIGNED, **settings})
    assert not report.unused and all(name.startswith("backbone.") for name in report.missing)
    return model


def _sampled(tensors: dict[str, Tensor]) -> Tensor:
    """Our sampling of recorded values (N, L, heads, D) at places (N, Q, heads, levels, P, 2)."""
    scale = torch.tensor([(width, height) for height, width in LEVEL_SIZES])[:, None]
    x, y = (tensors["msda.loc"] * scale - 0.5).unbind(-1)
    return sample_levels(tensors["msda.value"], x, y, tensors["msda.attn"], LEVEL_SIZES).flatten(2)
