"""Networks for audio-visual segmentation: build, run, train, save and load them.

Names are imported when first used, so that listing presets does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors read; a test compares it with _HOMES
    from avsctl_models.aavs import AAVS as AAVS
    from avsctl_models.avsegformer import AVSegFormer as AVSegFormer
    from avsctl_models.backbones import load_backbone_weights as load_backbone_weights
    from avsctl_models.contract import SegmentationModel as SegmentationModel
    from avsctl_models.loss_counts import LossCounts as LossCounts
    from avsctl_models.losses import Criterion as Criterion, LossPoints as LossPoints
    from avsctl_models.outputs import (
        DenseOutput as DenseOutput,
        Output as Output,
        SegmentationOutput as SegmentationOutput,
        semantic_decision as semantic_decision,
        semantic_inference as semantic_inference,
    )
    from avsctl_models.presets import (
        list_presets as list_presets,
        preset_settings as preset_settings,
        split_name as split_name,
    )
    from avsctl_models.registry import (
        create_from_spec as create_from_spec,
        create_model as create_model,
        list_models as list_models,
        load_model as load_model,
        read_metadata as read_metadata,
        register_model as register_model,
        save_model as save_model,
    )
    from avsctl_models.targets import Target as Target, targets_from_labels as targets_from_labels
    from avsctl_models.tpavi import TPAVI as TPAVI

_HOMES = {
    "AAVS": "aavs",
    "AVSegFormer": "avsegformer",
    "Criterion": "losses",
    "DenseOutput": "outputs",
    "LossCounts": "loss_counts",
    "LossPoints": "losses",
    "Output": "outputs",
    "SegmentationModel": "contract",
    "SegmentationOutput": "outputs",
    "TPAVI": "tpavi",
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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
