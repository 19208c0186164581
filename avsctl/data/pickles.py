"""Tensors out of AVSBench-object's log-mel pickles, without running what a pickle says.

A pickle may call any function by its name. This reader knows the few names that a pickled tensor needs, answers
them with its own functions on arrays, and refuses every other name. Torch is not needed.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections import OrderedDict
from typing import Any

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C  # the first number of a storage in torch's serial format
_STORAGES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2"}


def load_tensor(data: bytes) -> np.ndarray:
    """The tensor in a pickle (`pickle.dump(tensor, file)`), as an array of its own number format.

    Raises: ValueError: If the pickle names anything else than a tensor's parts, or is damaged.
    """
    try:
        _check_steps(data)
        value = _Unpickler(io.BytesIO(data)).load()
    except _ERRORS as error:
        raise ValueError(f"not a readable pickle ({error})") from None
    if not isinstance(value, np.ndarray):
        raise ValueError(f"a pickle of {type(value).__name__}, not of a tensor")
    return value


_REFUSED = (
    "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "DICT", "ADDITEMS", "FROZENSET",
    "NEXT_BUFFER", "READONLY_BUFFER",
)  # fmt: skip
"""Steps that make or change objects, or take them from elsewhere; a pickled tensor has none of them."""
_ITEMS, _TUPLES = {"SETITEM", "SETITEMS"}, {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_PLACES = ("PUT", "BINPUT", "LONG_BINPUT")
_ERRORS = (pickle.UnpicklingError, EOFError, LookupError, AttributeError, TypeError, OverflowError, MemoryError)


def _check_steps(data: bytes) -> None:
    """Look at the steps of a pickle, without taking them.

    Raises: ValueError: If one is refused, or names a place so far away that the list of places fills the memory, or
        if tuples may be keys, of which small ones can take years to hash.
    """
    steps = set()
    for step, argument, _ in pickletools.genops(data):
        steps.add(step.name)
        if step.name in _REFUSED:
            named = "" if argument is None else f" {argument}"
            raise ValueError(f"the pickle has a step {step.name}{named}, which no tensor needs; it is not opened")
        if step.name in _PLACES and (argument or 0) > len(data):
            raise ValueError(f"the pickle has a place number {argument:,}; it is not opened")
    if steps & _ITEMS and steps & _TUPLES:
        raise ValueError("the pickle has a table and tuples, which no tensor needs; it is not opened")


class _Unpickler(pickle.Unpickler):
    """Answers the names of a tensor's parts, refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
            ("torch.storage", "_load_from_bytes"): _storage,
            ("collections", "OrderedDict"): _hooks,
            ("_codecs", "encode"): _old_bytes,  # how protocol 2 writes bytes
        }
        if (module, name) not in known:
            raise ValueError(f"the pickle names {module}.{name}, which a tensor does not need; it is not opened")
        return known[module, name]


class _StorageUnpickler(pickle.Unpickler):
    """Reads the head of a storage: plain values, and number formats by their names."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        raise ValueError(f"the pickle names {module}.{name}, which a storage does not need; it is not opened")

    def persistent_load(self, pid: Any) -> Any:
        return pid


def _hooks() -> OrderedDict:
    """A tensor's hooks: none, for they would be functions."""
    return OrderedDict()


def _old_bytes(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"the pickle holds bytes as {encoding!r}")
    return text.encode("latin1")


def _storage(data: bytes) -> np.ndarray:
    """The numbers of a storage in torch's serial format (of before the zip files)."""
    stream = io.BytesIO(data)
    if _next_pickle(stream) != _MAGIC:
        raise ValueError("a storage that torch did not write")
    protocol, system = _next_pickle(stream), _next_pickle(stream)
    if protocol != 1001 or not system.get("little_endian", True):
        raise ValueError("a storage of another format or byte order")
    kind, number_format, _, _, count = _next_pickle(stream)[:5]
    if kind != "storage" or not isinstance(number_format, np.dtype):
        raise ValueError("a storage of another format")
    _next_pickle(stream)  # the keys of the storages that follow: one
    written = int.from_bytes(stream.read(8), "little")
    numbers = np.frombuffer(stream.read(), number_format)
    if written != count or len(numbers) != count:
        raise ValueError(f"a storage with {len(numbers)} of its {count} numbers")
    return numbers


def _next_pickle(stream: io.BytesIO) -> Any:
    """One of the pickles that make up a storage's head."""
    start = stream.tell()
    _check_steps(stream.getvalue()[start:])
    stream.seek(start)
    return _StorageUnpickler(stream).load()


def _tensor(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *rest: Any) -> np.ndarray:
    """What torch._utils._rebuild_tensor_v2 gives, with checked bounds."""
    numbers = [offset, *size, *stride]
    if not isinstance(storage, np.ndarray) or storage.ndim != 1 or len(size) != len(stride):
        raise ValueError("a tensor without a storage")
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError("a tensor of a negative size")
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if math.prod(size) == 0 or math.prod(size) > len(storage) or last >= len(storage):
        raise ValueError("a tensor beyond its storage")
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False).copy()


def _parameter(value: np.ndarray, *rest: Any) -> np.ndarray:
    return value
