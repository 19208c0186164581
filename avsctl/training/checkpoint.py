"""What a run can be continued from: the tensors that change and its position, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from avsctl.caches.files import hash_of, parse_json, whole_file
from avsctl.errors import AvsctlError

ADAM_STATE = ("exp_avg", "exp_avg_sq")
"""What the optimiser keeps for each parameter, besides the number of steps."""


def frozen_fingerprint(model: nn.Module) -> str:
    """Hash of the weights that training leaves as they are."""
    frozen = [(n, p) for n, p in model.named_parameters() if not p.requires_grad]
    return hash_of(*(part for n, p in frozen for part in (n, p.detach().cpu().contiguous().numpy().tobytes())))


def checkpoint_bytes(model: nn.Module) -> int:
    """The least that a run needs: its best model, and the one that replaces it; what it resumes from is not counted."""
    return 2 * sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, position: Mapping[str, Any]
) -> None:
    """Write trainable tensors, buffers, optimiser state and position into one safetensors file."""
    tensors = {f"model.{name}": tensor for name, tensor in _changing(model).items()}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            tensors[f"optimizer.{names[id(parameter)]}|{key}"] = torch.as_tensor(value)
    content = {**position, "frozen": frozen_fingerprint(model)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as part:
        save_file(tensors, part, metadata={"position": json.dumps(content, sort_keys=True)})


def read_position(path: Path) -> dict[str, Any]:
    """Where a checkpoint was taken: phase, epoch, step, best score, history.

    Raises: AvsctlError: If there is no readable checkpoint.
    """
    if not path.is_file():
        raise AvsctlError(f"No checkpoint at {path} to continue from. Leave --resume out to start the run.")
    try:
        with safe_open(path, "pt") as file:
            position = parse_json(file.metadata()["position"])
        if not isinstance(position, dict):
            raise ValueError("its position is no table")
        return position
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise AvsctlError(f"{path} is not a readable checkpoint ({error}). Start again with --overwrite.") from None


def restore_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Load what `save_checkpoint` wrote, strictly, into a model whose frozen weights are the same.

    Raises: AvsctlError: If the frozen weights or any name differ.
    """
    position = read_position(path)
    if position.get("frozen") != frozen_fingerprint(model):
        raise AvsctlError(
            f"{path} belongs to other base weights. "
            f"Give --init-from and --backbone-weights as in the run's config.json."
        )
    try:
        with safe_open(path, "pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, RuntimeError) as error:
        raise AvsctlError(f"{path} is not a readable checkpoint ({error}). Start again with --overwrite.") from None
    changing = _changing(model)
    differing = _differences(stored, changing, model)
    if differing:
        raise AvsctlError(
            f"{path} holds other tensors than this model trains ({', '.join(differing[:3])}). "
            f"Start again with --overwrite."
        )
    with torch.no_grad():
        for name, tensor in changing.items():
            tensor.copy_(stored[f"model.{name}"])
    parameters = dict(model.named_parameters())
    for name, value in stored.items():
        if name.startswith("optimizer."):
            owner, key = name.removeprefix("optimizer.").rsplit("|", 1)
            parameter = parameters[owner]
            value = value if key == "step" else value.to(parameter.device)
            optimizer.state[parameter][key] = value


def _differences(
    stored: Mapping[str, torch.Tensor], changing: Mapping[str, torch.Tensor], model: nn.Module
) -> list[str]:
    """Names of tensors that are missing, left over, or of another shape: none in a checkpoint of this model."""
    wanted = {f"model.{name}": tensor.shape for name, tensor in changing.items()}
    owners = {name.removeprefix("optimizer.").rsplit("|", 1)[0] for name in stored if name.startswith("optimizer.")}
    parameters = dict(model.named_parameters())
    for owner in owners & parameters.keys():
        shape = parameters[owner].shape
        wanted |= {f"optimizer.{owner}|{key}": shape for key in ADAM_STATE}
        wanted[f"optimizer.{owner}|step"] = torch.Size()
    same = {name for name in wanted.keys() & stored.keys() if stored[name].shape == wanted[name]}
    return sorted((wanted.keys() | stored.keys()) - same)


def _changing(model: nn.Module) -> dict[str, torch.Tensor]:
    trained = {name: parameter.data for name, parameter in model.named_parameters() if parameter.requires_grad}
    kept = set(model.state_dict())
    return {**trained, **{name: buffer for name, buffer in model.named_buffers() if name in kept}}
