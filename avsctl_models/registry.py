"""Models by name: making them, writing them, reading them back."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from avsctl_models.presets import preset_settings
from avsctl_models.settings import build_errors, check_settings
from avsctl_models.unfilled import build_unfilled
from avsctl_models.weights.files import read_metadata, read_weights, write_weights

if TYPE_CHECKING:  # it imports timm, which audio encoders do without
    from avsctl_models.contract import SegmentationModel

MODULES = ("avsctl_models.aavs", "avsctl_models.tpavi", "avsctl_models.avsegformer")  # register when imported
SPEC_KEY = "avsctl_model"
_BUILDERS: dict[str, Callable[..., SegmentationModel]] = {}


def register_model(name: str) -> Callable[[Callable[..., SegmentationModel]], Callable[..., SegmentationModel]]:
    """Decorate a builder so that `create_model` finds it.

    The builder takes `preset, task, num_classes, audio_dim` and any of its settings by keyword, and gives its
    model a `spec` dict of these names with all settings resolved under "settings".
    """

    def register(builder: Callable[..., SegmentationModel]) -> Callable[..., SegmentationModel]:
        _BUILDERS[name] = builder
        return builder

    return register


def list_models() -> list[str]:
    """Names of all models."""
    for module in MODULES:
        importlib.import_module(module)
    return sorted(_BUILDERS)


def create_model(
    name: str,
    *,
    preset: str,
    task: str = "avs",
    num_classes: int | None = None,
    audio_dim: int | None = 128,
    **overrides,
) -> SegmentationModel:
    """Build a model with random weights.

    Args:
        name: One of `list_models()`.
        preset: One of `presets.list_presets(name)`.
        task: "avs" or "avss".
        num_classes: Classes with the background; None is the task's number in AVSBench, 2 or 71.
        audio_dim: Width of the audio embeddings; None for a model that hears nothing.
        overrides: Settings that differ from the preset's.
    Raises: ValueError: If a name or value doesn't exist or fit.
    """
    models = list_models()
    if name not in models:
        raise ValueError(f"There is no model named {name!r}; there are: {', '.join(models)}")
    sizes = {"num_classes": num_classes, "audio_dim": audio_dim}
    check_settings({"num_classes": 2, "audio_dim": 128, **preset_settings(name, preset, task)}, {**sizes, **overrides})
    return _BUILDERS[name](preset=preset, task=task, num_classes=num_classes, audio_dim=audio_dim, **overrides)


def create_from_spec(spec: dict) -> SegmentationModel:
    """Build a model again from its `spec`, with random weights.

    Raises: ValueError: If the spec is not one of ours.
    """
    missing = {"name", "preset", "task", "num_classes", "audio_dim", "settings"} - set(spec)
    if missing:
        raise ValueError(f"The model's description lacks {', '.join(sorted(missing))}")
    sizes = {key: spec[key] for key in ("preset", "task", "num_classes", "audio_dim")}
    names = (spec["name"], spec["preset"], spec["task"])
    if not isinstance(spec["settings"], dict) or not all(isinstance(name, str) for name in names):
        raise ValueError("The model's description holds no names and settings")
    with build_errors("the model's description"):
        return create_model(spec["name"], **sizes, **spec["settings"])


def save_model(model: SegmentationModel, path: Path | str, metadata: dict[str, str] | None = None) -> Path:
    """Write a whole model as safetensors, whole or not at all.

    Args:
        model: With a `spec`, as `create_model` gives it.
        path: Target file; its folder must exist.
        metadata: Further entries of the file's header.
    Returns: The path.
    """
    header = {**(metadata or {}), SPEC_KEY: json.dumps(model.spec, sort_keys=True)}
    return write_weights(model.state_dict(), path, header)


def is_own_file(path: Path | str) -> bool:
    """Whether `save_model` wrote a file, by its header.

    Raises: ValueError: If it calls itself safetensors and can't be read.
    """
    path = Path(path)
    return path.suffix == ".safetensors" and path.is_file() and SPEC_KEY in read_metadata(path)


def read_spec(path: Path | str) -> dict:
    """The `spec` of a model that `save_model` wrote, from the file's header.

    Raises: ValueError: If it is missing or cannot be read.
    """
    try:
        spec = json.loads(read_metadata(path)[SPEC_KEY])
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the model's description cannot be read: {error}") from error
    if not isinstance(spec, dict):
        raise ValueError(f"{path}: the model's description is no JSON object")
    return spec


def load_model(
    path: Path | str,
    map_location: str | torch.device = "cpu",
    *,
    config: dict | Path | str | None = None,
) -> SegmentationModel:
    """Load a model, in eval mode: one that `save_model` wrote, or released weights as they are.

    Call it as `output = model(frames, audio, prior)`: frames (N, 3, H, W) normalised by `model.normalize`,
    audio (N, D) or None for plain Mask2Former, prior (N, h, w) in [0, 1] or None. `semantic_inference(output,
    size)` makes per-class maps of the output.

    Args:
        path: A file or folder, see `avsctl_models.weights.importing.import_model`.
        map_location: Device of the model.
        config: Sizes of released weights: a dict or a JSON file. None takes the JSON beside them (of the same
            name, or `config.json`), or else the published sizes.
    Raises: ValueError: If the file is broken, holds no known model, or its tensors don't fit; names the first
        that don't.
    """
    if not is_own_file(path):
        # imported late: it needs this module to build models
        from avsctl_models.weights.importing import import_model

        return import_model(path, config=config)[0].to(map_location)
    if config is not None:
        raise ValueError(f"{path} knows its own sizes: leave the config out")
    spec, state = read_spec(path), read_weights(path)
    held = sum(tensor.numel() for tensor in state.values())
    model = build_unfilled(lambda: create_from_spec(spec), held, str(path))
    load_strictly(model, state, source=str(path), assign=True)
    return model.to(map_location).eval()


def load_strictly(model: nn.Module, state: dict[str, torch.Tensor], *, source: str, assign: bool = False) -> None:
    """Load a state dict of which every tensor must fit and none may be left over.

    Args:
        source: Named in errors.
        assign: Whether the model takes copies of the tensors in place of its own, as one on the device `meta` must.
    Raises: ValueError: Naming the source and the first tensors that are missing, left over or of another
        shape.
    """
    own = model.state_dict()
    problems = [f"{name} is missing" for name in own if name not in state]
    problems += [f"{name} is not part of the model" for name in state if name not in own]
    problems += [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if problems:
        first = "; ".join(problems[:3])
        raise ValueError(f"{source} does not fit the model: {len(problems)} tensors, first {first}")
    if assign:  # copies, for a file that was read may stand behind its tensors
        state = {name: tensor.to(own[name].dtype, copy=True) for name, tensor in state.items()}
    model.load_state_dict(state, assign=assign)
