"""Frames and labels decoded once are those that are decoded each time."""

from __future__ import annotations

import shutil
from collections import namedtuple

import h5py
import numpy as np
import pytest
import torch

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.integrity import damaged_clips
from avsctl.data.layouts import open_dataset
from avsctl.data.samples import ClipSamples, PriorSource
from avsctl.errors import AvsctlError
from avsctl.stages.cache_frames import cache_frames
from avsctl.stages.prepare import prepare

SIDE = 48


@pytest.fixture(scope="module")
def plain(tiny_workspace):
    return ClipCache(tiny_workspace / "clips.h5")


@pytest.fixture(scope="module")
def sound(tiny_workspace):
    return AudioCache(tiny_workspace / "audio.h5")


@pytest.fixture(scope="module")
def cached(tiny_workspace, tmp_path_factory):
    path = tmp_path_factory.mktemp("cached") / "clips.h5"
    shutil.copy(tiny_workspace / "clips.h5", path)
    return ClipCache(cache_frames(path, SIDE, workers=0))


WAYS = [
    {"task": "avss"},
    {"task": "avs"},
    {"task": "avs", "binary_labels": "nearest"},
    {"task": "avss", "frames": "labelled"},
    {"task": "avs", "frames": "repeat", "prior": PriorSource("oracle")},
    {"task": "avs", "frames_per_clip": 2},
    {"task": "avss", "augment": True},
    {"task": "avss", "label_size": 32},
    {"task": "avs", "image_size": 40},
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way)))
def test_every_batch_is_the_same_to_the_last_bit(plain, cached, sound, way):
    read = [ClipSamples(clips, sound, range(len(clips)), **{"image_size": SIDE, **way}) for clips in (plain, cached)]
    for first, second in zip(*read, strict=True):
        for name in ("frames", "labels", "labelled", "audio", "prior"):
            one, other = getattr(first, name), getattr(second, name)
            assert one is other is None or (one.dtype == other.dtype and torch.equal(one, other)), name


def test_neither_frames_nor_labels_are_decoded_again(cached, sound, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("decoded")

    monkeypatch.setattr("avsctl.data.decoding.open_picture", refuse)
    monkeypatch.setattr("avsctl.data.labels.open_picture", refuse)
    batch = ClipSamples(cached, sound, [0], task="avss", image_size=SIDE)[0]
    assert batch.frames.shape == (5, 3, SIDE, SIDE) and batch.frames.is_contiguous()
    with pytest.raises(AssertionError, match="decoded"):
        ClipSamples(cached, sound, [0], task="avss", image_size=SIDE + 1)[0]


def test_fingerprint_and_all_else_stay_so_that_other_caches_fit(plain, cached):
    assert cached.fingerprint == plain.fingerprint and cached.hashes == plain.hashes
    assert cached.header == plain.header
    assert (plain.decoded_side, cached.decoded_side, cached.decoded_label_side) == (0, SIDE, 224)
    assert cached.frame_bytes(3) == plain.frame_bytes(3) and cached.label_bytes(3) == plain.label_bytes(3)
    assert damaged_clips(cached) == []


def test_a_rerun_does_nothing_and_another_size_replaces_it(cached, tmp_path):
    path = shutil.copy(cached.path, tmp_path / "clips.h5")
    before = path.stat().st_mtime_ns
    cache_frames(path, SIDE, workers=0)
    assert path.stat().st_mtime_ns == before
    cache_frames(path, 40, workers=0)
    assert ClipCache(path).decoded_side == 40
    assert [one.name for one in tmp_path.iterdir()] == ["clips.h5"]


def test_a_stopped_run_decodes_only_the_rest(plain, cached, tmp_path, monkeypatch):
    path = shutil.copy(plain.path, tmp_path / "clips.h5")

    def stop(items, description="", total=None):
        yield next(iter(items))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache_frames(path, SIDE, workers=0, track=stop)
    assert path.read_bytes() == plain.path.read_bytes()
    decoded = []

    def count(items, description="", total=None):
        decoded.append(total)
        return iter(items)

    cache_frames(path, SIDE, workers=0, track=count)
    shards = -(-len(plain) // 8)
    assert decoded[0] == shards - 1
    assert path.read_bytes() == cached.path.read_bytes()


def test_decoded_frames_are_checked_and_repaired(cached, tiny_workspace, tmp_path):
    path = shutil.copy(cached.path, tmp_path / "clips.h5")
    with h5py.File(path, "r+") as file:
        file["decoded/frames"][7, 0, 0, 0] ^= 1
    assert damaged_clips(ClipCache(path)) == [1]
    prepare(open_dataset(tiny_workspace / "AVSBench-synthetic"), path, repair=True, workers=0)
    assert path.read_bytes() == cached.path.read_bytes()


def test_prepare_says_the_size_first_and_refuses_what_the_disk_cannot_hold(
    tiny_workspace, tmp_path, monkeypatch, caplog
):
    dataset = open_dataset(tiny_workspace / "AVSBench-synthetic")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("avsctl.caches.space.shutil.disk_usage", lambda place: usage(10**9, 0, 10**6))
    with caplog.at_level("INFO", logger="avsctl"), pytest.raises(AvsctlError, match="120 frames decoded at 384x384"):
        prepare(dataset, tmp_path / "clips.h5", cache_size=384, workers=0)
    assert "120 frames decoded at 384x384: 53.1 MB" in caplog.text
    assert not (tmp_path / "clips.h5").exists()


def test_prepare_decodes_clips_that_are_there_without_reading_the_dataset_again(
    tiny_workspace, plain, cached, tmp_path, monkeypatch
):
    path = shutil.copy(plain.path, tmp_path / "clips.h5")
    dataset = open_dataset(tiny_workspace / "AVSBench-synthetic")
    monkeypatch.setattr(type(dataset), "load", None)
    prepare(dataset, path, cache_size=SIDE, workers=0)
    prepare(dataset, path, workers=0)  # without the option what is there stays
    assert path.read_bytes() == cached.path.read_bytes()


@pytest.mark.parametrize("part", ["frames", "labels", "sounding", "hash"])
def test_decoded_parts_that_do_not_fit_are_refused(cached, tmp_path, part):
    path = shutil.copy(cached.path, tmp_path / "clips.h5")
    with h5py.File(path, "r+") as file:
        values = file[f"decoded/{part}"][1:]
        del file[f"decoded/{part}"]
        file[f"decoded/{part}"] = np.asarray(values)
    with pytest.raises(AvsctlError, match=f"decoded/{part}"):
        ClipCache(path)
