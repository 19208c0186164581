from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.priors import PriorCache, assemble_priors
from avsctl.data.augment import View
from avsctl.data.labels import UNLABELLED
from avsctl.data.samples import Batch, ClipSamples, PriorSource, loader
from avsctl.errors import AvsctlError


@pytest.fixture(scope="module")
def caches(tiny_workspace):
    return ClipCache(tiny_workspace / "clips.h5"), AudioCache(tiny_workspace / "audio.h5")


def _samples(caches, subset="s4", split="train", **given):
    clips, audio = caches
    chosen = clips.select(split=split, subset=subset)
    return ClipSamples(clips, audio, chosen, **{"task": "avss", "image_size": 64, "label_size": 32, **given})


def test_an_s4_training_clip_is_labelled_in_its_first_frame_only(caches):
    batch = _samples(caches)[0]
    assert batch.frames.shape == (5, 3, 64, 64) and batch.frames.dtype == torch.uint8
    assert batch.labelled.tolist() == [True, False, False, False, False]
    assert (batch.labels[1:] == UNLABELLED).all() and batch.labels[0].max() < 71
    assert batch.audio.shape == (5, 128)


def test_labelled_frames_alone_keep_their_own_sound(caches):
    whole, batch = _samples(caches)[0], _samples(caches, frames="labelled")[0]
    assert len(batch.frames) == 1 and torch.equal(batch.audio[0], whole.audio[0])


def test_the_released_reader_repeats_the_labelled_frame_with_every_second_of_sound(caches):
    whole, batch = _samples(caches)[0], _samples(caches, frames="repeat")[0]
    assert all(torch.equal(frame, whole.frames[0]) for frame in batch.frames)
    assert torch.equal(batch.audio, whole.audio) and batch.labelled.all()
    assert len(_samples(caches, frames="repeat", split="test")[0].frames) == 5
    assert not torch.equal(*_samples(caches, frames="repeat", split="test")[0].frames[:2])


def test_frames_are_resized_as_pillow_does(caches):
    clips, _ = caches
    samples = _samples(caches, image_size=40)
    with Image.open(io.BytesIO(clips.frame_bytes(samples.indices[0])[3])) as picture:
        expected = np.asarray(picture.convert("RGB").resize((40, 40), Image.Resampling.BILINEAR))
    assert np.array_equal(samples[0].frames[3].permute(1, 2, 0).numpy(), expected)


def test_the_oracle_prior_is_where_anything_sounds(caches):
    batch = _samples(caches, subset="ms3", prior=PriorSource("oracle"))[0]
    assert torch.equal(batch.prior, (batch.labels != 0).float())
    assert not _samples(caches, prior=PriorSource("oracle"))[0].prior[1:].any()
    assert not _samples(caches, prior=PriorSource("empty"))[0].prior.any()


def test_a_cached_prior_is_hard_or_soft(caches, tmp_path):
    clips, _ = caches
    counts = [clips.frame_count(i) for i in range(len(clips))]
    maps = [{"maps": np.tile(np.array([[100, 200]], np.uint8), (n, 2, 1))} for n in counts]
    settings = {"origin": "low", "accuracy": {}, "inputs": {}, "options": {}}
    cache = PriorCache(assemble_priors(tmp_path / "p.h5", lambda: maps, uids=clips.uids, **settings))
    hard = _samples(caches, prior=PriorSource(cache, "hard"))[0].prior
    soft = _samples(caches, prior=PriorSource(cache, "soft"))[0].prior
    assert hard[0].tolist() == [[0, 1], [0, 1]]
    assert soft[0, 0].tolist() == pytest.approx([100 / 255, 200 / 255])


def test_a_batch_stacks_the_frames_of_its_clips(caches):
    samples = _samples(caches, subset="all", split="test")
    batch = next(iter(loader(samples, [[0, 1, 2]], workers=0)))
    assert len(batch.frames) == sum(batch.lengths) and len(batch.uids) == 3
    single = Batch.join([samples[i] for i in range(3)])
    assert torch.equal(batch.labels, single.labels) and torch.equal(batch.frames, single.frames)


def test_worker_processes_read_the_same(caches):
    given = {"frames_per_clip": 2, "augment": True, "prior": PriorSource("oracle")}
    samples = _samples(caches, subset="all", split="test", **given)
    here, there = (list(loader(samples, [[0, 1], [2]], workers=n)) for n in (0, 1))
    for a, b in zip(here, there, strict=True):
        assert torch.equal(a.frames, b.frames) and torch.equal(a.prior, b.prior)


def test_random_views_change_with_the_epoch_and_with_nothing_else(caches):
    samples = _samples(caches, subset="ms3", augment=True, seed=3)
    first = samples[0].frames
    assert torch.equal(samples[0].frames, first)
    samples.epoch = 1
    assert not torch.equal(samples[0].frames, first)


def test_a_view_moves_frame_label_and_prior_alike():
    label = np.zeros((40, 40), np.uint8)
    label[5:20, 10:35] = 7
    picture = Image.fromarray(np.repeat((label > 0).astype(np.uint8)[..., None] * 255, 3, axis=2))
    for seed in range(8):
        view = View.draw(np.random.default_rng(seed))
        seen = view.frame(picture, 40)[..., 0] > 255 * view.gains[0] / 2
        overlap = np.mean(seen == (view.map(label, nearest=True) > 0))
        assert overlap > 0.97
        prior = view.map((label > 0).astype(np.float32)) > 0.5
        assert np.mean(prior == (view.map(label, nearest=True) > 0)) > 0.97


def test_the_whole_view_changes_nothing():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 20, 3), np.uint8))
    assert np.array_equal(View().frame(picture, 16), np.asarray(picture.resize((16, 16), Image.Resampling.BILINEAR)))


def test_a_clip_without_its_sound_is_named(caches, tmp_path):
    from avsctl.caches.audio import assemble_audio

    clips, _ = caches
    settings = {"encoder": "logmel", "inputs": {}, "options": {}}
    rows = [{"embedding": np.zeros((3, 4), np.float32)}]
    audio = AudioCache(assemble_audio(tmp_path / "a.h5", lambda: rows, uids=[clips.uids[0]], **settings))
    with pytest.raises(AvsctlError, match="3 audio embeddings"):
        ClipSamples(clips, audio, [0], task="avss", image_size=64)[0]
    with pytest.raises(AvsctlError, match="no clip"):
        ClipSamples(clips, audio, [1], task="avss", image_size=64)[0]
