"""Log-mel pickles are read without running what they say."""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
from collections import OrderedDict

import numpy as np
import pytest
import torch

from avsctl.data.pickles import load_tensor


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickled_tensor_comes_back(dtype, protocol):
    tensor = torch.randn(5, 1, 9, 4).to(dtype).requires_grad_()
    found = load_tensor(pickle.dumps(tensor, protocol=protocol))
    assert np.array_equal(found, tensor.detach().numpy())
    assert found.dtype == tensor.detach().numpy().dtype


def test_views_and_parameters_come_back():
    tensor = torch.arange(24.0).reshape(4, 6)
    for view in (tensor.T, tensor[1:, ::2], torch.nn.Parameter(tensor)):
        assert np.array_equal(load_tensor(pickle.dumps(view)), view.detach().numpy())


def test_the_released_log_mel_is_read(object_root, readers):
    path = object_root / "Single-source/s4_data/audio_log_mel/train/cat_meowing/eeeeeeeeeee.pkl"
    found = load_tensor(path.read_bytes())
    assert found.shape == (5, 1, 96, 64)
    assert np.array_equal(found[0, 0, :8], readers["s4.train.log_mel_first"])


class _Attack:
    def __reduce__(self):
        return os.system, ("touch was_run",)


class _NestedAttack:
    """Hides the call in the storage that a tensor names."""

    def __reduce__(self):
        return torch.storage._load_from_bytes, (pickle.dumps(_Attack()),)


@pytest.mark.parametrize("attack", [_Attack(), [torch.zeros(2), _Attack()], _NestedAttack()])
def test_a_foreign_name_is_refused_and_not_run(attack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="system"):
        load_tensor(pickle.dumps(attack))
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], "text"])
def test_other_contents_are_refused(value):
    with pytest.raises(ValueError, match="not of a tensor"):
        load_tensor(pickle.dumps(value))


def test_damage_is_refused_whatever_it_is():
    data = pickle.dumps(torch.randn(5, 1, 9, 4))
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(data[: rng.integers(1, len(data) + 1)])
        for _ in range(rng.integers(1, 8)):
            broken[rng.integers(len(broken))] = rng.integers(256)
        with contextlib.suppress(ValueError):
            assert isinstance(load_tensor(bytes(broken)), np.ndarray)


def test_a_tensor_beyond_its_storage_is_refused():
    data = pickle.dumps(torch.zeros(4, 3), protocol=2)
    shape = b"K\x04K\x03\x86"
    assert data.count(shape) == 1
    with pytest.raises(ValueError, match="beyond its storage"):
        load_tensor(data.replace(shape, b"K\x40K\x03\x86"))


BOMBS = {
    "memory": (b"\x80\x02]r\xff\xff\xff\x7f.", "place number"),  # a list of 2**31 places
    "long bytes": (b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"x.", "expected 1099511627776 bytes"),
    "state": (b"\x80\x02ccollections\nOrderedDict\n}b.", "BUILD"),
    "old call": (b"(S'touch was_run'\nios\nsystem\n.", "os system"),
    "extension": (b"\x80\x02\x82\x01.", "EXT1"),
    "hash": (b"\x80\x02}(N" + b"q\x00h\x00" + b"\x86q\x00h\x00" * 60 + b"\x86K\x01u.", "table and tuples"),
    "deep": (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "not of a tensor"),
    "hooks": (pickle.dumps(OrderedDict(a=1)), "step|pickle"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_before_it_goes_off(bomb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, says = BOMBS[bomb]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for inside in (data, pickle.dumps(_Nested(data))):
        with pytest.raises(ValueError, match=says if inside is data else None):
            load_tensor(inside)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KB
    assert not (tmp_path / "was_run").exists()


class _Nested:
    """The bytes of a storage."""

    def __init__(self, data: bytes):
        self.data = data

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.data,)
