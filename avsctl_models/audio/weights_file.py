"""Reading a network's weights from a file, and refusing what doesn't fit it."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all named tensors of a `.safetensors` file or a pickled state dict (`.pth`, `.pt`, `.bin`).

    Pickles are read with `weights_only`: nothing in the file is executed.

    Raises: ValueError: If the file is missing, damaged, or holds anything but named tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no weights file at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{path} cannot be read as weights: {reason[0]}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} is not a state dict: expected named tensors only")
    return state


def load_exactly(network: nn.Module, tensors: dict[str, Tensor], source: str) -> nn.Module:
    """Give a network (built on any device, `meta` included) its weights, in float32 and eval mode.

    Raises: ValueError: If tensors are missing, unknown or of another shape; the first few are named.
    """
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    misfits = [f"{key} is missing" for key in expected if key not in tensors]
    misfits += [f"{key} is unknown" for key in tensors if key not in expected]
    misfits += [
        f"{key} is {tuple(tensors[key].shape)}, not {shape}"
        for key, shape in expected.items()
        if key in tensors and tuple(tensors[key].shape) != shape
    ]
    if misfits:
        more = f" and {len(misfits) - 3} more" if len(misfits) > 3 else ""
        raise ValueError(f"{source} does not fit {type(network).__name__}: {'; '.join(misfits[:3])}{more}")
    network.load_state_dict({key: value.float() for key, value in tensors.items()}, assign=True)
    return network.eval().requires_grad_(False)
