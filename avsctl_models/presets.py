"""Names and sizes of the models that come with the package; importing this does not load torch."""

from __future__ import annotations

from typing import Any

TASKS = ("avs", "avss")

_PVT = {"backbone": "pvt_v2_b5", "backbone_options": {}, "drop_path": 0.1, "normalization": "imagenet"}
_RESNET = {"backbone": "resnet50", "backbone_options": {}, "drop_path": 0.0, "normalization": "imagenet"}
# The network and size of AAVS in "tiny"; widths are such that a step of training takes about as long as its.
_TINY = {
    "image_size": 96,
    "backbone": "test_resnet",
    "backbone_options": {},
    "drop_path": 0.0,
    "normalization": "imagenet",
}

_TPAVI = {
    "hidden_dim": 256,
    "head_hidden": [128, 32],
    "attention": "va",
    "attention_levels": [0, 1, 2, 3],
    "window": 5,
    "audio_relu": True,
    "audio_loss_weight": 0.5,
}
_TPAVI_TASKS: dict[str, dict[str, Any]] = {
    # Published without an audio loss for S4; for MS3 it is that of avss.
    "avs": {"prior_fusion": False, "audio_loss": None},
    "avss": {"prior_fusion": True, "audio_loss": {"distance": "kl"}},
}

_AVSEGFORMER = {
    "hidden_dim": 256,
    "heads": 8,
    "queries": 300,
    "generator_layers": 6,
    "generator_hidden": 1024,
    "pixel_layers": 6,
    "pixel_hidden": 2048,
    "points": 4,
    "decoder_layers": 6,
    "decoder_hidden": 2048,
    "mask_hidden": 2048,
    "head_hidden": [128, 32],
    "dropout": 0.1,
    "audio_relu": True,
    "mask_loss": "dice",
    "mix_loss_weight": 0.1,
}
_AVSEGFORMER_TINY = {
    "hidden_dim": 64,
    "heads": 4,
    "queries": 20,
    "generator_layers": 2,
    "generator_hidden": 128,
    "pixel_layers": 2,
    "pixel_hidden": 128,
    "decoder_layers": 2,
    "decoder_hidden": 128,
    "mask_hidden": 64,
    "head_hidden": [32, 16],
    "dropout": 0.0,
}
_AVSEGFORMER_TASKS: dict[str, dict[str, Any]] = {
    "avs": {"image_size": 512, "prior_fusion": False},
    "avss": {"image_size": 224, "prior_fusion": True},
}

# "all" holds for both tasks; what stands under a task is laid over it.
PRESETS: dict[str, dict[str, dict[str, dict]]] = {
    "aavs": {
        "swin-b-384": {
            "all": {
                "image_size": 384,
                "backbone": "swin_base_patch4_window12_384",
                "backbone_options": {},
                "backbone_adapters": True,
                "drop_path": 0.3,
                "normalization": "imagenet",
                "pixel_decoder": "deformable",
                "hidden_dim": 256,
                "mask_dim": 256,
                "pixel_layers": 6,
                "pixel_hidden": 1024,
                "points": 4,
                "heads": 8,
                "decoder_layers": 9,
                "decoder_hidden": 2048,
                "audio_hidden": 512,
                "query": "adaptive",
                "masked_attention": True,
                "prior_low": 0.4,
                "prior_high": 0.6,
                "loss_points": 12544,
            },
            "avs": {
                "queries": 30,
                "adapters": "replace",
                "prior_fusion": False,
                "prior_mask": False,
                "prior_keys": False,
            },
            "avss": {
                "queries": 100,
                "adapters": "follow",
                "prior_fusion": True,
                "prior_mask": True,
                "prior_keys": True,
            },
        },
        # Learns from scratch in minutes on a CPU: timm's smallest residual network, and the pyramid of the paper's
        # text, which needs fewer steps than deformable attention.
        "tiny": {
            "all": {
                "image_size": 96,
                "backbone": "test_resnet",
                "backbone_options": {},
                "backbone_adapters": False,
                "drop_path": 0.0,
                "normalization": "imagenet",
                "pixel_decoder": "fpn",
                "adapters": "none",
                "hidden_dim": 64,
                "mask_dim": 64,
                "pixel_layers": 2,
                "pixel_hidden": 128,
                "points": 4,
                "heads": 4,
                "decoder_layers": 3,
                "decoder_hidden": 128,
                "audio_hidden": 128,
                "query": "adaptive",
                "masked_attention": True,
                "prior_low": 0.4,
                "prior_high": 0.6,
                "loss_points": 1024,
            },
            "avs": {"queries": 8, "prior_fusion": False, "prior_mask": False, "prior_keys": False},
            "avss": {"queries": 20, "prior_fusion": True, "prior_mask": True, "prior_keys": True},
        },
    },
    "tpavi": {
        "pvt": {"all": {**_TPAVI, **_PVT, "image_size": 224}, **_TPAVI_TASKS},
        "r50": {"all": {**_TPAVI, **_RESNET, "image_size": 224}, **_TPAVI_TASKS},
        "tiny": {"all": {**_TPAVI, **_TINY, "hidden_dim": 48, "head_hidden": [32, 16]}, **_TPAVI_TASKS},
    },
    "avsegformer": {
        "pvt": {"all": {**_AVSEGFORMER, **_PVT}, **_AVSEGFORMER_TASKS},
        "r50": {"all": {**_AVSEGFORMER, **_RESNET}, **_AVSEGFORMER_TASKS},
        "tiny": {
            "all": {**_AVSEGFORMER, **_TINY, **_AVSEGFORMER_TINY},
            "avs": {"prior_fusion": False},
            "avss": {"prior_fusion": True},
        },
    },
}


def list_presets(name: str = "aavs") -> list[str]:
    """Names of the presets of a model, the published one first.

    Raises: ValueError: If there is no such model.
    """
    if name not in PRESETS:
        raise ValueError(f"There is no model named {name!r}; there are: {', '.join(sorted(PRESETS))}")
    return list(PRESETS[name])


def preset_settings(name: str, preset: str, task: str) -> dict:
    """All settings of a preset for a task, as a new dict.

    Raises: ValueError: If there is no such model, preset or task.
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, not {task!r}")
    presets = list_presets(name)
    if preset not in presets:
        raise ValueError(f"{name} has no preset {preset!r}; there are: {', '.join(presets)}")
    layers = PRESETS[name][preset]
    return {**layers["all"], **layers[task]}


def resolved_settings(name: str, preset: str, task: str, overrides: dict) -> dict:
    """A preset's settings with some of them replaced.

    Raises: ValueError: If there is no such model, preset, task or setting.
    """
    settings = preset_settings(name, preset, task)
    unknown = sorted(set(overrides) - set(settings))
    if unknown:
        raise ValueError(f"{name} has no setting {unknown[0]!r}; there are: {', '.join(sorted(settings))}")
    return {**settings, **overrides}


def class_count(task: str, num_classes: int | None) -> int:
    """Number of classes with the background; None is that of AVSBench, 2 or 71."""
    return num_classes if num_classes is not None else {"avs": 2, "avss": 71}[task]


def split_name(name: str, preset: str | None = None) -> tuple[str, str | None]:
    """Read a model's name, which may carry its preset: "tpavi-pvt" is "tpavi" in the preset "pvt".

    Args:
        preset: Chosen apart from the name, if it was.
    Returns: The model's name, and its preset or None where neither says one.
    Raises: ValueError: If there is no such model or preset, or the two presets differ.
    """
    model, _, carried = name.partition("-")
    presets = list_presets(name if model not in PRESETS else model)
    for chosen in (carried, preset):
        if chosen and chosen not in presets:
            raise ValueError(f"{model} has no preset {chosen!r}; there are: {', '.join(presets)}")
    if carried and preset and carried != preset:
        raise ValueError(f"The model {name} is in the preset {carried} already, not in {preset}")
    return model, carried or preset
