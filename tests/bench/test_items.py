"""The items of the benchmark compare equal work, and notice where it isn't."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from avsctl.bench import data_path, frozen_features, growth, label_decoding, metrics, s4_labelled, visualize_command
from avsctl.bench.clips import draw_clips, repeat_clips
from avsctl.bench.harness import Settings, UnequalWork
from avsctl.bench.memory import Measured
from avsctl.caches.clips import ClipCache
from avsctl.data.layouts import open_dataset
from avsctl.data.samples import ClipSamples
from avsctl.stages.extract_audio import extract_audio
from avsctl.stages.prepare import prepare
from avsctl_models.audio.encoders import encoder


@pytest.fixture
def settings(tmp_path):
    return Settings(quick=True, threads=1, scratch=tmp_path)


@pytest.fixture
def in_this_process(monkeypatch):
    """Measure no memory, which takes a process each time."""

    def call(prepare, *args, threads=0):
        return Measured(1.0, 1000, prepare(*args)())

    for module in (label_decoding, metrics, growth):
        monkeypatch.setattr(module, "in_own_process", call)


def test_repeated_clips_are_clips_of_their_own(tmp_path):
    drawn = draw_clips(tmp_path / "drawn", 2, 32)
    root = repeat_clips(drawn, tmp_path / "many", 5)
    cache = ClipCache(prepare(open_dataset(root), tmp_path / "clips.h5", workers=1))
    assert len(set(cache.uids)) == 5 and set(cache.splits) == {"test"}
    assert cache.frame_bytes(0) == cache.frame_bytes(2) != cache.frame_bytes(1)


def test_growth_measures_every_number_of_clips(settings, in_this_process, monkeypatch):
    monkeypatch.setattr(growth, "QUICK_COUNTS", (2, 3))
    results = growth.run(settings)
    assert [result.name for result in results] == ["growth-prepare", "growth-extract-audio", "growth-evaluate"]
    for result in results:
        assert result.details["counts"] == [2, 3] and result.peer_s == 1.5 and result.reached


def test_growth_notices_clips_that_are_lost(settings, in_this_process, monkeypatch):
    monkeypatch.setattr(growth, "QUICK_COUNTS", (2, 3))
    monkeypatch.setattr(growth, "_prepare", lambda root: 1)
    with pytest.raises(UnequalWork, match="number of clips: 1 of 2"):
        growth.run(settings)


def test_cached_clips_are_those_of_the_folder(tmp_path):
    root = draw_clips(tmp_path / "drawn", 2, (320, 240))
    for name, cache_size in (("plain", None), ("decoded", data_path.IMAGE_SIZE)):
        clips = prepare(open_dataset(root), tmp_path / name / "clips.h5", workers=1, cache_size=cache_size)
        extract_audio(clips, tmp_path / name / "audio.h5", workers=1)
        ours = data_path.FromCaches(tmp_path / name)
        peer = data_path.FromFolder(root, encoder("logmel"), ours.uids)
        for number in range(2):
            data_path.require_same(ours[number], peer[number])
    frames, labels, sound = peer[0]
    with pytest.raises(UnequalWork, match="frames"):
        data_path.require_same(ours[0], (frames ^ 1, labels, sound))
    with pytest.raises(UnequalWork, match="audio"):
        data_path.require_same(ours[0], (frames, labels, sound + 1))


def test_one_labelled_frame_learns_what_its_copies_do(settings):
    result = s4_labelled.run(settings, "tiny")[0]
    assert result.name == "s4-labelled" and "losses" in result.checked


def test_other_frames_than_the_labelled_one_are_refused(settings, monkeypatch):
    monkeypatch.setattr(ClipSamples, "_choose_frames", lambda self, labelled, rng: ([0, 1, 2, 3, 4],) * 2)
    with pytest.raises(UnequalWork, match="frames they should have"):
        s4_labelled.run(settings, "tiny")


def test_features_are_those_of_the_frames(settings, monkeypatch):
    assert "losses within" in frozen_features.run(settings, "tiny")[0].checked
    epochs = iter([[1.0], [1.1]])
    monkeypatch.setattr(frozen_features, "_epoch", lambda samples, learn: next(epochs))
    with pytest.raises(UnequalWork, match="losses"):
        frozen_features.run(settings, "tiny")


@pytest.mark.parametrize(
    "module, plain, wrong, says",
    [
        (label_decoding, "by_comparison", lambda picture: np.zeros(label_decoding.SIZE), "class indices"),
        (metrics, "by_threshold", lambda clips: dict.fromkeys(metrics.NAMES, 0.5), "miou"),
    ],
)
def test_a_plain_way_with_other_results_is_refused(settings, monkeypatch, module, plain, wrong, says):
    monkeypatch.setattr(module, plain, wrong)
    with pytest.raises(UnequalWork, match=says):
        module.run(settings)


def test_the_plain_loop_finds_the_scores_of_the_one_pass():
    clips = metrics.make_clips(1)
    empty = clips[0]._replace(target=np.zeros_like(clips[0].target))
    assert metrics.by_threshold(clips)["f_score"] > metrics.by_threshold([empty])["f_score"]
    assert functools.reduce(max, metrics.by_threshold(clips).values()) < 1


def test_visualize_and_the_plain_way_see_the_same(settings):
    pytest.importorskip("transformers")
    [result] = visualize_command.run(settings)
    assert result.name == "inference-visualize-fp32" and result.count == 8
    assert "8 frames" in result.checked


def test_other_masks_than_the_peer_s_are_refused(settings, monkeypatch):
    pytest.importorskip("transformers")
    silent = lambda pair, batch: lambda: torch.zeros(len(batch.frames), 2, 224, 224)  # noqa: E731
    monkeypatch.setattr(visualize_command, "peer_maps", silent)
    monkeypatch.setattr(visualize_command._Ours, "areas", lambda self: np.full(8, 0.5))
    with pytest.raises(UnequalWork, match="areas that sound, by up to 50.0 %"):
        visualize_command.run(settings)
