"""Networks for audio-visual segmentation: build, run, train, save and load them.

Names are imported when first used, so that listing presets does not load torch.
"""

from __future__ import annotations

import importlib

_HOMES = {
    "AAVS": "aavs",
    "Criterion": "losses",
    "DenseOutput": "outputs",
    "LossPoints": "losses",
    "Output": "outputs",
    "SegmentationOutput": "outputs",
    "Target": "targets",
    "create_from_spec": "registry",
    "create_model": "registry",
    "list_models": "registry",
    "list_presets": "presets",
    "load_backbone_weights": "backbones",
    "load_model": "registry",
    "preset_settings": "presets",
    "read_metadata": "registry",
    "register_model": "registry",
    "save_model": "registry",
    "semantic_decision": "outputs",
    "semantic_inference": "outputs",
    "split_name": "presets",
    "targets_from_labels": "targets",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
