"""Damage to caches, weights and pickles that still are readable as such, and attacks by them."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from fuzz_text import NAMES, VALUES, mutated

Rng = np.random.Generator


def values(rng: Rng, path: Path) -> None:
    """Numbers of a cache become NaN, infinite, negative or huge."""
    with h5py.File(path, "r+") as file:
        for _ in range(int(rng.integers(1, 3))):
            data = file[_dataset(rng, file)]
            if not data.size:
                continue
            whole = data[...]
            place = tuple(int(rng.integers(side)) for side in data.shape)
            if whole.dtype.kind == "f":
                whole[place] = rng.choice([np.nan, np.inf, -np.inf, 1e38])
            elif whole.dtype.kind in "iu":
                limits = np.iinfo(whole.dtype)
                whole[place] = rng.choice([limits.min, limits.max, 0, int(rng.integers(0, 127))])
            else:
                whole[place] = rng.choice([b"", b"../../x", b"/etc/x", b"a\xff", b"\x1b[0m", b"x"])
            data[...] = whole


def retyped(rng: Rng, path: Path) -> None:
    """A dataset of another shape, type or length, a huge one that holds nothing, or none."""
    with h5py.File(path, "r+") as file:
        name = _dataset(rng, file)
        old = file[name][...]
        del file[name]
        kind = int(rng.integers(9))
        if kind == 0:
            file.create_dataset(name, (2**40,), old.dtype, chunks=(1024,))
        elif kind == 1:
            file.create_dataset(name, (2**33,), old.dtype, chunks=(1024,), compression="gzip")
        elif kind == 2:
            file[name] = old[: len(old) // 2]
        elif kind == 3:
            file[name] = np.concatenate([old, old]) if old.ndim else old
        elif kind == 4:
            file[name] = np.zeros(3, [("a", "f4"), ("b", "i4")])
        elif kind == 5:
            file[name] = "text"
        elif kind == 6:
            file[name] = np.zeros((0, *old.shape[1:]), old.dtype)
        elif kind == 7:
            file[name] = old.astype(np.float64) if old.dtype.kind in "iuf" else np.arange(3)


def attributes(rng: Rng, path: Path) -> None:
    """Attributes are missing, or hold what no one expects there."""
    with h5py.File(path, "r+") as file:
        name = str(rng.choice(sorted(file.attrs)))
        value = VALUES[int(rng.integers(len(VALUES)))]
        if rng.random() < 0.2:
            del file.attrs[name]
            return
        try:
            text = file.attrs[name]
            text = json.dumps(mutated(rng, json.loads(text))) if rng.random() < 0.5 else str(value)
            file.attrs[name] = np.bytes_(text.encode("utf-8", "replace"))
        except (ValueError, TypeError):
            file.attrs[name] = rng.normal(size=3)


def links(rng: Rng, path: Path) -> None:
    """A dataset lies in another file, or seems to."""
    other = path.with_name("other.h5")
    with h5py.File(path, "r+") as file:
        name = _dataset(rng, file)
        old = file[name][...]
        with h5py.File(other, "w") as elsewhere:
            elsewhere["stolen"] = old
        del file[name]
        kind = int(rng.integers(5))
        if kind == 0:
            file[name] = h5py.ExternalLink(other.name, "stolen")
        elif kind == 1:
            file[name] = h5py.SoftLink("/clips/uid")
        elif kind == 2:
            layout = h5py.VirtualLayout(old.shape, old.dtype)
            layout[...] = h5py.VirtualSource(other.name, "stolen", old.shape)
            file.create_virtual_dataset(name, layout)
        elif kind == 3:
            external = [(os.fsencode("/etc/passwd"), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset(name, old.shape, old.dtype, external=external)
        else:
            file[name] = file["/"]


def _dataset(rng: Rng, file: h5py.File) -> str:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names[int(rng.integers(len(names)))]


def tensor_head(rng: Rng, path: Path) -> None:
    """A safetensors file whose head says something else: lengths, kinds, places, descriptions."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8 : 8 + length])
    kind = int(rng.integers(6))
    if kind == 0:
        path.write_bytes(struct.pack("<Q", int(rng.choice([0, 1, 2**31, 2**40, 2**63 - 1]))) + data[8:])
        return
    metadata = head.get("__metadata__", {})
    names = [name for name in head if name != "__metadata__"]
    if kind in (1, 2, 3) and metadata:
        name = str(rng.choice(sorted(metadata)))
        described = mutated(rng, json.loads(metadata[name]) if metadata[name][:1] == "{" else metadata[name])
        metadata[name] = json.dumps(described) if rng.random() < 0.95 else "[" * 100_000
    elif kind == 4:
        entry = head[names[int(rng.integers(len(names)))]]
        field = str(rng.choice(["dtype", "shape", "data_offsets"]))
        odd = {"dtype": ["F64", "I8", "F8_E4M3", "BOOL", "XX"], "shape": [[], [2**40], [0], [-1], [1, 1]]}
        offsets = [[0, 0], [0, 2**50], [5, 1], [-1, 4]]
        choices = odd.get(field, offsets)
        entry[field] = choices[int(rng.integers(len(choices)))]
    else:
        head[names[int(rng.integers(len(names)))] + "x"] = head.pop(names[int(rng.integers(len(names)))])
    packed = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(packed)) + packed + data[8 + length :])


def tensor_values(rng: Rng, path: Path) -> None:
    """Weights that are NaN, infinite or huge."""
    data = bytearray(path.read_bytes())
    start = 8 + struct.unpack("<Q", data[:8])[0]
    value = struct.pack("<f", float(rng.choice([np.nan, np.inf, 3e38])))
    for _ in range(int(rng.choice([1, 50]))):
        place = start + 4 * int(rng.integers(0, (len(data) - start) // 4))
        data[place : place + 4] = value
    path.write_bytes(bytes(data))


class _Call:
    """Pickles as a call of a function with a name of ours."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def attack(rng: Rng, path: Path) -> None:
    """A pickle that would run a program, eat the memory, or nest for ever; a zip that unpacks to gigabytes."""
    kind = int(rng.integers(8))
    if kind == 0:
        path.write_bytes(pickle.dumps(_Call(os.system, "touch owned"), protocol=int(rng.integers(0, 5))))
    elif kind == 1:
        torch.save({"w": torch.zeros(2), "x": _Call(eval, "open('owned', 'w')")}, path)
    elif kind == 2:
        path.write_bytes(b"\x80\x02]r" + struct.pack("<I", 2**31 - 1) + b".")  # the memo's place number 2**31
    elif kind == 3:
        path.write_bytes(b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".")
    elif kind == 4:
        nested = pickle.dumps(_Call(os.system, "touch owned"))
        path.write_bytes(pickle.dumps(_Call(torch.storage._load_from_bytes, nested)))
    elif kind == 5:
        path.write_bytes(b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.")  # a terabyte of bytes follows, it says
    elif kind == 6:
        torch.save({"weight": torch.zeros(1).expand(2**20, 2**20)}, path)  # four terabytes in four bytes
    else:
        _zip_bomb(path)


def _zip_bomb(path: Path) -> None:
    torch.save({"weight": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            with archive.open(name, "w") as file:
                file.write(data)
                for _ in range(64 if "data/" in name else 0):
                    file.write(bytes(2**24))


def saved(rng: Rng, path: Path) -> None:
    """A file of torch.save or pickle that holds something else than weights by their names."""
    tensor = torch.randn(5, 1, 96, 64)
    contents = (
        {},
        [],
        tensor,
        {"state_dict": []},
        {1: tensor},
        {"w": tensor.to_sparse()},
        {"w": torch.zeros(3, device="meta")},
        {"w": torch.zeros(2, dtype=torch.complex64)},
        {"model": {"model": {"w": tensor}}},
        {"w": tensor.int()},
        {"w": torch.tensor(1.0)},
        {"w": torch.zeros(0)},
        {NAMES[17]: tensor},
        {"embeddings.0.weight": tensor},
        None,
        {"pca_means": tensor, "pca_eigen_vectors": tensor},
        tensor[:1],
        tensor * np.nan,
        tensor.double(),
        "text",
        {"model.pixel_level_module.x": tensor},
        {"w": tensor.to(torch.bfloat16)},
    )
    content = contents[int(rng.integers(len(contents)))]
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content, protocol=int(rng.integers(2, 5))))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=bool(rng.random() < 0.7))


def replaced(rng: Rng, path: Path) -> None:
    """Weights of which some are missing or of another shape or kind."""
    content = torch.load(path, weights_only=True)
    state = content["state_dict"]
    for name in rng.choice(sorted(state), 3):
        kind = int(rng.integers(6))
        if kind == 0:
            del state[name]
        elif kind == 1:
            state[name] = state[name].flatten()[:1]
        elif kind == 2:
            state[name] = torch.full_like(state[name], float("nan"), dtype=torch.float32)
        elif kind == 3:
            state[name] = torch.zeros(1).expand(2**20, 2**20)
        elif kind == 4:
            state[name] = state[name].to_sparse()
        else:
            state[name] = VALUES[int(rng.integers(20))]
    torch.save(content, path)


H5 = (values, values, retyped, attributes, links)
SAFETENSORS = (tensor_head, tensor_head, tensor_head, tensor_values)
PTH = (replaced, saved, saved, attack)
PKL = (saved, saved, attack)
