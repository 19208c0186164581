"""A training that reads a frozen backbone's maps from a cache learns what one that computes them does."""

from __future__ import annotations

import logging
import shutil
from collections import namedtuple
from contextlib import contextmanager

import pytest
import torch

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.features import FeatureCache
from avsctl.configs import resolve_training
from avsctl.data.samples import Batch, ClipSamples
from avsctl.errors import AvsctlError
from avsctl.inference import run_model
from avsctl.stages.cache_features import backbone_fingerprint, use_features
from avsctl.stages.train import train
from avsctl.workspace import Run, Workspace
from avsctl_models import SegmentationOutput, create_model
from avsctl_models.backbones import build_backbone


@pytest.fixture
def workspace(tiny_workspace, tmp_path):
    for name in ("clips.h5", "audio.h5"):
        (tmp_path / name).symlink_to(tiny_workspace / name)
    return Workspace(tmp_path)


def config(**given):
    options = {"image_size": 64, "epochs": 1, "max_steps": 2, "batch_clips": 1, "freeze_backbone": True, **given}
    return resolve_training("avs", "tiny", options.pop("subset", "ms3"), options)


def losses(workspace, **given) -> list[float]:
    # TPAVI's loss is continuous; that of AAVS jumps where the matching of its queries changes.
    history = Run(train(workspace, config(model="tpavi", **given), device="cpu")).record["history"]
    return [entry["loss"] for entry in history]


def test_losses_agree_with_the_uncached_run_and_a_second_run_reuses_the_maps(workspace, caplog):
    plain = losses(workspace)
    # Convolutions over other numbers of frames at once sum in another order: a few units in the last place.
    assert losses(workspace, cache_features="all", cache_precision="fp32", name="exact") == pytest.approx(plain, 1e-4)
    # float16 keeps 11 bits: relative errors of up to 5e-4 in every number of a map, of which a loss averages many.
    assert losses(workspace, cache_features="all", name="half") == pytest.approx(plain, 1e-3)
    made = {path: path.stat().st_mtime_ns for path in workspace.root.glob("features/*.h5")}
    assert len(made) == 4
    assert not list(workspace.root.glob("features/.*.shards"))
    with caplog.at_level(logging.INFO):
        losses(workspace, cache_features="all", name="again", lr=1e-5)
    assert {path: path.stat().st_mtime_ns for path in workspace.root.glob("features/*.h5")} == made
    assert caplog.text.count("features of") == 2


def use(workspace, model, split="train", **given):
    clips, audio = ClipCache(workspace.clips), AudioCache(workspace.audio)
    settings = config(cache_features=split, **given)
    samples = {
        name: ClipSamples(
            clips,
            audio,
            clips.select(split=name, subset=settings.subset),
            task="avs",
            image_size=64,
            frames=settings.s4_frames if name == "train" else "all",
        )
        for name in ("train", "val")
    }
    plain = Batch.join([samples["train"][i] for i in range(len(samples["train"]))])
    use_features(workspace, settings, model, samples, True, 0, iter_)
    cached = Batch.join([samples["train"][i] for i in range(len(samples["train"]))])
    return plain, cached, samples


def iter_(items, description="", total=None):
    return iter(items)


@pytest.mark.parametrize("name", ["aavs", "tpavi", "avsegformer"])
@pytest.mark.parametrize("levels", [4, 3])
def test_a_model_gives_the_same_from_its_maps_whole_or_in_part(workspace, name, levels):
    model = create_model(name, preset="tiny", image_size=64).eval()
    plain, cached, samples = use(workspace, model, cache_levels=levels, cache_precision="fp32")
    assert len(cached.features) == levels and samples["val"].features is None
    assert cached.frames.shape[-1] == (0 if levels == 4 else 64)
    with torch.inference_mode():
        outputs = [
            run_model(model, b.frames, b.audio, lengths=b.lengths, features=b.features).select(torch.arange(3))
            for b in (plain, cached)
        ]
    first, second = (o.mask_logits if isinstance(o, SegmentationOutput) else o.logits for o in outputs)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)  # see above


@pytest.mark.parametrize("s4_frames, kept", [("repeat", 1), ("labelled", 1), ("all", 5)])
def test_only_the_frames_that_training_sees_are_kept(workspace, s4_frames, kept):
    model = create_model("aavs", preset="tiny", image_size=64).eval()
    plain, cached, samples = use(workspace, model, subset="s4", s4_frames=s4_frames, cache_precision="fp32")
    cache = samples["train"].features
    assert len(cache.maps(cached.uids[0], range(kept))[0]) == kept
    if kept == 1:
        with pytest.raises(AvsctlError, match="lacks frames of clip"):
            cache.maps(cached.uids[0], [1])
    features = model.backbone(model.normalize(plain.frames))
    for computed, read in zip(features, cached.features, strict=True):
        torch.testing.assert_close(computed, read, rtol=1e-4, atol=1e-4)


def test_maps_of_another_backbone_or_damaged_ones_are_made_again(workspace, caplog):
    one, other = (create_model("aavs", preset="tiny", image_size=64).eval() for _ in range(2))
    assert backbone_fingerprint(one) != backbone_fingerprint(other)
    first, second = (use(workspace, model)[2]["train"].features for model in (one, other))
    assert first.path != second.path
    second.path.unlink()  # HDF5 still holds the file open
    shutil.copyfile(first.path, second.path)
    assert use(workspace, other)[2]["train"].features.fingerprint == second.fingerprint
    second.path.unlink()
    second.path.write_bytes(b"no cache at all")
    assert use(workspace, other)[2]["train"].features.fingerprint == second.fingerprint
    assert "was made from other clips or another backbone and is made again" in caplog.text
    assert f"{second.path} is damaged and is made again" in caplog.text
    assert FeatureCache(second.path).header["options"]["backbone"] == backbone_fingerprint(other)


def test_a_training_waits_for_maps_that_another_one_is_making(workspace, monkeypatch):
    model = create_model("aavs", preset="tiny", image_size=64).eval()
    made = use(workspace, model)[2]["train"].features
    aside = made.path.rename(made.path.with_suffix(".aside"))
    asked = []

    @contextmanager
    def whose_turn_comes_when_they_are_made(target, *, also=(), wait=False):
        asked.append((target, wait))
        aside.rename(target)
        yield

    monkeypatch.setattr("avsctl.caches.shards.sole_writer", whose_turn_comes_when_they_are_made)
    monkeypatch.setattr("avsctl.stages.cache_features._write_shard", lambda *parts: pytest.fail("made again"))
    assert use(workspace, model)[2]["train"].features.fingerprint == made.fingerprint
    assert asked == [(made.path, True)]


def test_flipped_bytes_are_noticed_while_training(workspace):
    cache = use(workspace, create_model("aavs", preset="tiny", image_size=64))[2]["train"].features
    data = bytearray(cache.path.read_bytes())
    data[-20000:-10000:10] = bytes(255 - value for value in data[-20000:-10000:10])
    copy = cache.path.with_name("copy.h5")
    copy.write_bytes(data)
    damaged, uids = FeatureCache(copy), [uid for uid in cache._position]
    with pytest.raises(AvsctlError, match="is damaged at clip .*Delete it and run the same command again"):
        for uid in uids:
            damaged.maps(uid, range(5))


def test_a_disk_that_cannot_hold_the_maps_is_refused_before_any_work(workspace, monkeypatch, caplog):
    monkeypatch.setattr("shutil.disk_usage", lambda path: namedtuple("Usage", "free")(1000))
    with caplog.at_level(logging.INFO), pytest.raises(AvsctlError, match="needs about .* but 1.0 KB are free there"):
        use(workspace, create_model("aavs", preset="tiny", image_size=64))
    assert "will hold the maps of 10 frames" in caplog.text


@pytest.mark.parametrize(
    "given, message",
    [
        ({"augment": True}, "add --no-augment"),
        ({"freeze_backbone": False}, "add --freeze-backbone"),
    ],
)
def test_what_changes_frames_or_backbone_does_not_go_with_a_cache(given, message):
    with pytest.raises(AvsctlError, match=message):
        config(cache_features="all", **given)


SWIN = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 4, 8), "window_size": 2}


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv2_035", "swin_tiny_patch4_window7_224"])
def test_first_maps_are_those_of_the_whole_backbone(name):
    backbone = build_backbone(name, image_size=64, options=SWIN if name.startswith("swin") else {}).eval()
    frames = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        maps = backbone(frames)
        for count in range(5):
            firsts = backbone.first_maps(frames, count)
            assert len(firsts) == count
            assert all(torch.equal(one, other) for one, other in zip(firsts, maps, strict=False))
