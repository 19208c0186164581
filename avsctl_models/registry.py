"""Models by name: making them, writing them, reading them back."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import nn

MODULES = ("avsctl_models.aavs",)  # each registers its models when imported
SPEC_KEY = "avsctl_model"
_BUILDERS: dict[str, Callable[..., nn.Module]] = {}


def register_model(name: str) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Decorate a builder so that `create_model` finds it.

    The builder takes `preset, task, num_classes, audio_dim` and any of its settings by keyword, and gives its
    model a `spec` dict of these names with all settings resolved under "settings".
    """

    def register(builder: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
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
) -> nn.Module:
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
    return _BUILDERS[name](
        preset=preset, task=task, num_classes=num_classes, audio_dim=audio_dim, **overrides
    )


def create_from_spec(spec: dict) -> nn.Module:
    """Build a model again from its `spec`, with random weights.

    Raises: ValueError: If the spec is not one of ours.
    """
    missing = {"name", "preset", "task", "num_classes", "audio_dim", "settings"} - set(spec)
    if missing:
        raise ValueError(f"The model's description lacks {', '.join(sorted(missing))}")
    sizes = {key: spec[key] for key in ("preset", "task", "num_classes", "audio_dim")}
    return create_model(spec["name"], **sizes, **spec["settings"])


def save_model(model: nn.Module, path: Path | str, metadata: dict[str, str] | None = None) -> Path:
    """Write a whole model as safetensors, whole or not at all.

    Args:
        model: With a `spec`, as `create_model` gives it.
        path: Target file; its folder must exist.
        metadata: Further entries of the file's header.
    Returns: The path.
    """
    path = Path(path)
    header = {**(metadata or {}), SPEC_KEY: json.dumps(model.spec, sort_keys=True)}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        file.write(to_bytes(state, metadata=header))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    return path


def read_metadata(path: Path | str) -> dict[str, str]:
    """The header entries of a safetensors file, without reading its tensors.

    Raises: ValueError: If it is no readable safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error


def load_model(path: Path | str, map_location: str | torch.device = "cpu") -> nn.Module:
    """Rebuild a model that `save_model` wrote, in eval mode.

    Raises: ValueError: If the file is broken, holds no model of ours, or its tensors don't fit; names the
        first that don't.
    """
    header = read_metadata(path)
    if SPEC_KEY not in header:
        raise ValueError(f"{path} holds no avsctl model (no {SPEC_KEY!r} in its header); convert it first")
    try:
        model = create_from_spec(json.loads(header[SPEC_KEY]))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: the model's description cannot be read: {error}") from error
    with safe_open(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    load_strictly(model, state, source=str(path))
    return model.to(map_location).eval()


def load_strictly(model: nn.Module, state: dict[str, torch.Tensor], *, source: str) -> None:
    """Load a state dict of which every tensor must fit and none may be left over.

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
    model.load_state_dict(state)
