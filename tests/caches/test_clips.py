from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest

from avsctl.caches.clips import ClipCache, ClipRecord, assemble_clips
from avsctl.caches.header import open_cache
from avsctl.errors import AvsctlError

RECORDS = [
    ClipRecord("a_0", "a", "s4", "train", [b"frame0", b"", b"f2"], [b"label", b"", b""], b"wav a"),
    ClipRecord("b", "b", "ms3", "test", [b"only"], [b"x"], b"", np.ones((1, 96, 64), np.float32)),
]


@pytest.fixture
def path(tmp_path):
    items = [record.arrays() for record in RECORDS]
    settings = {"classes": ["background", "cat"], "palette": np.zeros((2, 3), np.uint8)}
    return assemble_clips(tmp_path / "clips.h5", lambda: items, label_kind="semantic", options={"a": 1}, **settings)


def test_what_was_written_is_read_back(path):
    cache = ClipCache(path)
    assert cache.uids == ["a_0", "b"] and cache.videos == ["a", "b"]
    assert cache.frame_bytes(0) == [b"frame0", b"", b"f2"]
    assert cache.label_bytes(0) == [b"label", b"", b""]
    assert cache.labelled(0).tolist() == [True, False, False]
    assert (cache.audio_bytes(0), cache.audio_bytes(1)) == (b"wav a", b"")
    assert cache.log_mel(0) is None and cache.log_mel(1).shape == (1, 96, 64)
    assert cache.classes == ["background", "cat"] and cache.header["options"] == {"a": 1}


def test_a_cache_pickles_without_its_open_file(path):
    cache = ClipCache(path)
    cache.frame_bytes(0)
    assert pickle.loads(pickle.dumps(cache)).frame_bytes(1) == [b"only"]


def test_the_same_clips_make_the_same_bytes_and_fingerprint(path, tmp_path):
    items = [record.arrays() for record in RECORDS]
    settings = {"classes": ["background", "cat"], "palette": np.zeros((2, 3), np.uint8)}
    again = assemble_clips(tmp_path / "2.h5", lambda: items, label_kind="semantic", options={"a": 1}, **settings)
    assert again.read_bytes() == path.read_bytes()


def test_verify_finds_a_changed_byte(path):
    assert ClipCache(path).verify(0) and ClipCache(path).verify(1)
    with h5py.File(path, "r+") as file:
        file["frames/data"][2] += 1
    cache = ClipCache(path)
    assert not cache.verify(0) and cache.verify(1)


def test_clips_are_chosen_by_split_and_subset(path):
    cache = ClipCache(path)
    assert cache.select() == [0, 1] and cache.select(split="all", subset="ms3") == [1]
    with pytest.raises(AvsctlError, match="holds no clip of subset s4, split test. It holds ms3/test, s4/train"):
        cache.select(split="test", subset="s4")


def test_a_missing_cache_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(AvsctlError, match="Run 'avsctl prepare avsbench' first"):
        ClipCache(tmp_path / "clips.h5")


@pytest.mark.parametrize("damage", ["truncated", "text", "unfinished", "another"])
def test_a_cache_that_is_none_is_refused(path, damage):
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "text":
        path.write_text("no HDF5")
    else:
        with h5py.File(path, "r+") as file:
            name, value = ("complete", False) if damage == "unfinished" else ("format", np.bytes_(b"x"))
            file.attrs[name] = value
    with pytest.raises(AvsctlError, match="clips.h5"):
        open_cache(path, "clips")
