"""Reading files of weights without running anything they contain, and writing them whole or not at all."""

from __future__ import annotations

import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

MAX_REPEATED = 2**30
"""Bytes of tensors that are views which say a stored number more than once."""
MAX_CONFIG = 2**25
"""Bytes of a JSON file; the list of a large model's shards has one."""
_FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Read a state dict onto the CPU.

    Args:
        path: A `.safetensors` file, any file of `torch.save` (`.bin`, `.pth`, `.pt`), or a folder in Hugging
            Face's format, in one file or in shards.
    Returns: Names and tensors; wrappers such as {"state_dict": …} and the prefix "module." are taken off.
    Raises: ValueError: If it doesn't exist, is truncated, holds anything but tensors, or no tensor at all.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise ValueError(f"There is no file {path}")
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def part_of(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it; all of them if none do."""
    part = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    return part or dict(state)


def read_config(path: Path | str) -> dict:
    """Read a JSON file of model sizes.

    Raises: ValueError: If it doesn't exist or is no JSON object.
    """
    path = Path(path)
    if not path.is_file() or path.stat().st_size > MAX_CONFIG:
        raise ValueError(f"{path} is no JSON file of at most {MAX_CONFIG:,} bytes")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable JSON file: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no JSON object")
    return config


def read_metadata(path: Path | str) -> dict[str, str]:
    """The header entries of a safetensors file, without reading its tensors.

    Raises: ValueError: If it is no readable safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is truncated or not a safetensors file: {error}") from error


def write_weights(tensors: Mapping[str, Tensor], path: Path | str, metadata: dict[str, str]) -> Path:
    """Write named tensors as safetensors, whole or not at all.

    Args:
        path: Target file; its folder must exist.
        metadata: Entries of the file's header.
    Returns: The path.
    """
    path = Path(path)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(to_bytes(state, metadata=metadata))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _read_folder(folder: Path) -> dict[str, Tensor]:
    for name in _FOLDER_FILES:
        if (folder / name).is_file():
            return read_weights(folder / name)
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _read_shards(folder, index)
    raise ValueError(f"The folder {folder} holds neither {' nor '.join(_FOLDER_FILES)}")


def _read_shards(folder: Path, index: Path) -> dict[str, Tensor]:
    places = read_config(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise ValueError(f"{index} has no weight_map of names and files")
    state = {}
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard or shard == ".." or not (folder / shard).is_file():
            raise ValueError(f"{index} names a file outside its folder: {shard}")
        state.update(read_weights(folder / shard))
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(f"{path} is truncated or not a safetensors file: {error}") from error
    _check_tensors(path, state)
    return state


def _check_archive(path: Path) -> None:
    """Refuse a file that torch.save did not write, or whose parts are larger than it.

    Raises: ValueError: If it is neither a zip file of unpacked parts nor a pickle.
    """
    with path.open("rb") as file:
        head = file.read(2)
    if head == b"PK":
        try:
            with zipfile.ZipFile(path) as archive:
                parts = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise ValueError(f"{path} is truncated or not a file of weights: {error}") from None
        packed = [part.filename for part in parts if part.compress_type != zipfile.ZIP_STORED]
        if packed:
            raise ValueError(f"{path} has packed parts ({packed[0]}), which torch.save does not write")
        if sum(part.file_size for part in parts) > path.stat().st_size:
            raise ValueError(f"{path} declares more than its {path.stat().st_size:,} bytes")
    elif head[:1] != b"\x80":
        raise ValueError(f"{path} is truncated or not a file of weights: it begins with {head!r}")


def _check_tensors(path: Path, state: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are no plain numbers, or repeat few stored ones to more than a gigabyte.

    Raises: ValueError: Naming the first.
    """
    repeated = 0
    for name, tensor in state.items():
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not plain or tensor.is_complex():
            raise ValueError(f"{path}: {name} is no plain tensor ({tensor.dtype}, {tensor.layout}, {tensor.device})")
        declared = tensor.numel() * tensor.element_size()
        repeated += declared if declared > tensor.untyped_storage().nbytes() else 0
        if repeated > MAX_REPEATED:
            raise ValueError(f"{path}: {name} of shape {tuple(tensor.shape)} has more numbers than are stored")


def _read_pickle(path: Path) -> dict[str, Tensor]:
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on unusual pickles, which are refused or read all the same
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors, or is damaged; it was not opened further, nothing in it was run"
        ) from error
    except Exception as error:  # damaged pickles fail in any way: IndexError, struct.error, AssertionError, …
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ValueError(f"{path} is truncated or not a file of weights: {reason}") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = {
        name: value
        for name, value in (content.items() if isinstance(content, dict) else ())
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if not tensors:
        raise ValueError(f"{path} holds no named tensors")
    _check_tensors(path, tensors)
    return tensors
