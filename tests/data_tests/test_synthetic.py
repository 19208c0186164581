from __future__ import annotations

import csv
import dataclasses
import hashlib
import importlib
import json
import re
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avsctl.data.palette import CLASS_NAMES, colours_to_index
from avsctl.data.synthetic import DEFAULT_COUNTS, NAMES, generate, scaled_counts
from avsctl.data.synthetic.generate import _Clip
from avsctl.data.synthetic.objects import Paint, draw_object
from avsctl.data.synthetic.scenes import Scene, plan_scene, render_frames, render_sound
from avsctl.data.synthetic.sounds import SAMPLE_RATE, perform, room_noise
from avsctl.errors import AvsctlError

SMALL = {("v1s", "train"): 2, ("v1s", "test"): 1, ("v1m", "train"): 2, ("v1m", "val"): 1, ("v2", "test"): 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return generate(tmp_path_factory.mktemp("synthetic") / "set", clips=SMALL, size=(96, 64), seed=3)


def rows_of(root: Path) -> list[dict[str, str]]:
    with open(root / "metadata.csv", newline="") as file:
        return list(csv.DictReader(file))


def digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_folder_is_laid_out_as_avsbench_semantic(root):
    rows = rows_of(root)
    assert list(rows[0]) == ["vid", "uid", "s_min", "s_sec", "a_obj", "split", "label"]
    assert json.loads((root / "label2idx.json").read_text()) == {n: i + 1 for i, n in enumerate(CLASS_NAMES)}
    assert len(rows) == sum(SMALL.values())
    assert {path.name for path in root.iterdir()} == {
        "metadata.csv", "label2idx.json", "synthetic.json", "v1s", "v1m", "v2"
    }  # fmt: skip
    for row in rows:
        clip = root / row["label"] / row["uid"]
        frames = 10 if row["label"] == "v2" else 5
        labels = 1 if (row["label"], row["split"]) == ("v1s", "train") else frames
        assert {path.name for path in clip.iterdir()} == {
            "frames",
            "labels_rgb",
            "labels_semantic",
            "audio.wav",
        }
        assert {path.name for path in (clip / "frames").iterdir()} == {f"{i}.jpg" for i in range(frames)}
        for kind in ("labels_rgb", "labels_semantic"):
            assert {path.name for path in (clip / kind).iterdir()} == {f"{i}.png" for i in range(labels)}
        with wave.open(str(clip / "audio.wav")) as sound:
            assert sound.getparams()[:4] == (1, 2, 16000, 16000 * frames)


def test_uids_follow_the_rules_of_each_subset(root):
    for row in rows_of(root):
        if row["label"] == "v1m":
            assert re.fullmatch(r"\w{11}_\d+", row["uid"]) and row["vid"] == row["uid"]
            assert (row["s_min"], row["s_sec"]) == ("0", "0")
            continue
        start = 60 * int(row["s_min"]) + int(row["s_sec"])
        length = 5 if row["label"] == "v1s" else 10
        assert row["uid"] == f"{row['vid']}_{1000 * start}_{1000 * (start + length)}"


def test_both_kinds_of_labels_agree_and_hold_only_the_named_objects(root):
    for row in rows_of(root):
        seen = set()
        for path in (root / row["label"] / row["uid"] / "labels_rgb").iterdir():
            index, stray = colours_to_index(np.asarray(Image.open(path)))
            assert stray == 0 and index.shape == (64, 96)
            other = np.asarray(Image.open(path.parent.parent / "labels_semantic" / path.name))
            np.testing.assert_array_equal(index, other)
            seen |= set(np.unique(index)) - {0}
        assert "_".join(CLASS_NAMES[i] for i in sorted(seen)) == row["a_obj"]


def test_content_depends_on_neither_workers_nor_how_many_clips_there_are(root, tmp_path):
    more = {**SMALL, ("v1s", "train"): 3, ("v2", "test"): 2}
    again = digests(generate(tmp_path / "set", clips=more, size=(96, 64), seed=3, workers=2))
    for name, digest in digests(root).items():
        if name.startswith("v"):
            assert again[name] == digest


def test_another_seed_gives_other_clips(root, tmp_path):
    other = generate(tmp_path / "set", clips={("v1s", "test"): 1}, size=64, seed=4)
    assert not {row["uid"] for row in rows_of(other)} & {row["uid"] for row in rows_of(root)}


def test_a_rerun_makes_what_is_missing_and_keeps_the_rest(root, tmp_path):
    copy = tmp_path / "set"
    shutil.copytree(root, copy)
    before = digests(copy)
    first, second = (copy / row["label"] / row["uid"] for row in rows_of(copy)[:2])
    kept = (second / "audio.wav").stat().st_mtime_ns
    first.rename(first.with_name(f".{first.name}.part"))  # as a run killed in the middle of a clip leaves it
    (copy / "metadata.csv").unlink()
    generate(copy, clips=SMALL, size=(96, 64), seed=3)
    assert digests(copy) == before
    assert (second / "audio.wav").stat().st_mtime_ns == kept


def test_a_run_that_fails_leaves_no_half_written_clip(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(importlib.import_module(_Clip.__module__), "_write_wav", fail)
    with pytest.raises(OSError, match="disk full"):
        generate(tmp_path / "set", clips=SMALL, size=64)
    assert not (tmp_path / "set" / "metadata.csv").exists()
    assert all(path.name.startswith(".") for path in (tmp_path / "set").glob("v*/*"))


@pytest.mark.parametrize("change", [{"seed": 4}, {"size": 64}, {"clips": {("v2", "val"): 1}}])
def test_a_folder_made_with_other_options_is_refused_and_left_alone(root, change):
    before = digests(root)
    with pytest.raises(AvsctlError, match="other options"):
        generate(root, **{"clips": SMALL, "size": (96, 64), "seed": 3, **change})
    assert digests(root) == before


def test_a_folder_of_someone_else_is_refused(tmp_path):
    (tmp_path / "metadata.csv").write_text("vid,uid\n")
    with pytest.raises(AvsctlError, match="not a synthetic set"):
        generate(tmp_path, clips=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["metadata.csv"]


@pytest.mark.parametrize(
    "options",
    [
        {"clips": {("v3", "train"): 1}},
        {"clips": {("v2", "train"): -1}},
        {"clips": {("v2", "train"): 0}},
        {"seed": -1},
        {"size": 31},
        {"size": (64, 4096)},
        {"workers": 0},
    ],
)
def test_options_out_of_range_are_refused_before_anything_is_written(tmp_path, options):
    with pytest.raises(AvsctlError):
        generate(tmp_path / "set", **options)
    assert not (tmp_path / "set").exists()


def test_progress_sees_every_clip(tmp_path):
    seen = []

    def track(clips, description, total):
        seen.append(total)
        return iter(clips)

    generate(tmp_path / "set", clips={("v1s", "test"): 2}, size=32, track=track)
    assert seen == [2]


def test_scaled_counts_keep_every_subset_and_split():
    assert scaled_counts(1.0) == DEFAULT_COUNTS
    assert min(scaled_counts(0.01).values()) == 2
    with pytest.raises(AvsctlError):
        scaled_counts(0)


def test_no_video_is_in_two_splits_of_the_default_set():
    vids = [_Clip(*key, n, 0, (160, 160)).row()["vid"] for key, count in DEFAULT_COUNTS.items() for n in range(count)]
    assert len(set(vids)) == len(vids)


def scenes(subset: str, count: int) -> list:
    return [plan_scene(np.random.default_rng([7, n]), subset, n) for n in range(count)]


def test_at_least_twelve_avsbench_classes_take_part_in_every_subset():
    assert len(NAMES) >= 12 and set(NAMES) <= set(CLASS_NAMES[1:])
    for subset in ("v1s", "v1m", "v2"):
        assert {actor.name for scene in scenes(subset, 24) for actor in scene.actors} == set(NAMES)


def test_s4_like_clips_have_one_object_that_always_sounds():
    assert all(len(scene.actors) == 1 and scene.active.all() for scene in scenes("v1s", 20))


def test_ms3_like_clips_mostly_show_silent_objects_of_classes_that_sound_elsewhere():
    planned = scenes("v1m", 200)
    sounding = {name for scene in planned for name in scene.sounding_names}
    silent = [{actor.name for actor in scene.actors} - set(scene.sounding_names) for scene in planned]
    assert np.mean([bool(names) for names in silent]) > 0.6
    assert set().union(*silent) <= sounding
    assert all(2 <= len(scene.actors) <= 3 and scene.active.any() for scene in planned)
    assert np.mean([(~scene.active.any(axis=0)).mean() for scene in planned]) < 0.08  # quiet seconds are rare
    assert np.mean([(scene.active != scene.active[:, :1]).any() for scene in planned]) > 0.2  # others take over


def test_v2_like_clips_have_sources_that_start_and_stop():
    planned = scenes("v2", 100)
    assert all(scene.active.shape[1] == 10 and scene.active.any() for scene in planned)
    starts_and_stops = [(np.diff(scene.active.astype(int), axis=1) != 0).any() for scene in planned]
    assert np.mean(starts_and_stops) > 0.95


def visible_shares(scene, size: int) -> list[float]:
    """How much of each object is seen in each second: its label when all sound, against when it is alone."""
    everyone = np.ones_like(scene.active)
    together = [label for _, label in render_frames(Scene(scene.actors, everyone), rng(), (size, size))]
    shares = []
    for actor in scene.actors:
        alone = Scene((actor,), everyone[:1])
        for label, (_, own) in zip(together, render_frames(alone, rng(), (size, size)), strict=True):
            shares.append(np.count_nonzero(label == own.max()) / np.count_nonzero(own))
    return shares


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_objects_are_large_and_at_least_60_percent_visible():
    for scene in scenes("v1m", 10) + scenes("v2", 4):
        assert min(visible_shares(scene, 64)) >= 0.6
        assert all(0.25 <= actor.side <= 0.6 for actor in scene.actors)


def test_labels_hold_what_sounds_second_by_second():
    for scene in scenes("v1m", 6) + scenes("v2", 4):
        names = [CLASS_NAMES.index(actor.name) for actor in scene.actors]
        for second, (_, label) in enumerate(render_frames(scene, rng(), (64, 64))):
            sounding = {names[k] for k in np.flatnonzero(scene.active[:, second])}
            assert set(np.unique(label)) - {0} == sounding


def test_a_silent_object_in_front_hides_the_label_of_a_sounding_one_behind_it():
    behind, other = scenes("v1m", 1)[0].actors[:2]
    front = dataclasses.replace(other, track=behind.track, side=behind.side)
    active = np.repeat([[True], [False]], 5, axis=1)
    only_behind = [label for _, label in render_frames(Scene((behind,), active[:1]), rng(), (64, 64))]
    only_front = [label for _, label in render_frames(Scene((front,), active[:1]), rng(), (64, 64))]
    both = [label for _, label in render_frames(Scene((behind, front), active), rng(), (64, 64))]
    for label, rear, cover in zip(both, only_behind, only_front, strict=True):
        assert (rear > 0)[cover > 0].any()
        np.testing.assert_array_equal(label, np.where(cover > 0, 0, rear))


def test_an_object_looks_the_same_whether_it_sounds_or_not():
    scene = scenes("v1m", 1)[0]
    hushed = Scene(scene.actors, np.zeros_like(scene.active))
    for (frame, _), (other, label) in zip(
        render_frames(scene, rng(), (64, 64)), render_frames(hushed, rng(), (64, 64)), strict=True
    ):
        assert frame.tobytes() == other.tobytes() and not label.any()


def test_the_label_covers_exactly_what_was_painted():
    scene = scenes("v1s", 1)[0]
    painted = [np.asarray(frame).astype(int) for frame, _ in render_frames(scene, rng(), (96, 96))]
    empty = Scene((), scene.active[:0])
    for image, (bare, _), (_, label) in zip(
        painted, render_frames(empty, rng(), (96, 96)), render_frames(scene, rng(), (96, 96)), strict=True
    ):
        changed = np.abs(image - np.asarray(bare)).max(axis=2) > 0
        assert not (~changed & (label > 0)).mean() > 0.01  # a painted pixel may happen to equal the place behind
        assert (changed & (label == 0)).sum() < 0.25 * (label > 0).sum()  # the soft border, below half cover


def test_sources_are_heard_in_their_seconds_only():
    for name in NAMES:
        sound = perform(name, np.random.default_rng(1), [False, True, True, False, True])
        seconds = sound.reshape(5, SAMPLE_RATE)
        assert not seconds[[0, 3]].any()
        quarters = np.sqrt((seconds[[1, 2, 4]].reshape(12, -1) ** 2).mean(axis=1))
        assert quarters.min() > 10 ** (-50 / 20), name  # most of the second is filled
        assert np.abs(sound).max() <= 1


def test_the_mix_of_a_clip_is_faint_where_nothing_sounds_and_never_clips():
    for scene in scenes("v2", 12):
        mix = render_sound(scene, rng()).reshape(10, SAMPLE_RATE) / 32767
        level = 20 * np.log10(np.sqrt((mix**2).mean(axis=1)))
        sounding = scene.active.any(axis=0)
        assert level[sounding].min() > -40 and np.abs(mix).max() < 1
        assert (level[~sounding] < -48).all()


def mel_statistics(sound: np.ndarray) -> np.ndarray:
    """Mean and deviation over each second of 64 log-mel bands: (seconds, 128)."""
    hertz = np.fft.rfftfreq(512, 1 / SAMPLE_RATE)
    mel = 1127 * np.log1p(hertz / 700)
    edges = np.linspace(*(1127 * np.log1p(np.array([125, 7500]) / 700)), 66)
    rising = (mel[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel[:, None]) / (edges[2:] - edges[1:-1])
    bank = np.clip(np.minimum(rising, falling), 0, None)
    windows = np.lib.stride_tricks.sliding_window_view(sound.reshape(-1, SAMPLE_RATE), 400, axis=1)[:, ::160]
    bands = np.log(np.abs(np.fft.rfft(windows * np.hanning(400), 512)) @ bank + 0.01)
    return np.concatenate([bands.mean(axis=1), bands.std(axis=1)], axis=1)


def heard(seed: int, clips: int) -> tuple[np.ndarray, np.ndarray]:
    features, classes = [], []
    for label, name in enumerate(NAMES):
        for clip in range(clips):
            source = np.random.default_rng([seed, label, clip])
            features.append(mel_statistics(perform(name, source, [True] * 3) + room_noise(source, 3)))
            classes += [label] * 3
    return np.concatenate(features), np.array(classes)


def test_classes_are_told_apart_by_the_statistics_of_a_second():
    train, train_classes = heard(0, 6)
    test, test_classes = heard(1, 4)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    design, wanted = (train - mean) / deviation, np.eye(len(NAMES))[train_classes]
    weights = np.linalg.solve(design.T @ design + 10 * np.eye(128), design.T @ wanted)  # ridge regression
    assert np.mean(((test - mean) / deviation @ weights).argmax(axis=1) == test_classes) > 0.95


def test_silhouettes_differ_between_classes():
    paint = Paint.from_hue(0.3, 0.6, 0.7, 0.8)
    shapes = {}
    for name in NAMES:
        canvas = np.zeros((72, 72), dtype=bool)
        alpha = np.asarray(draw_object(name, paint, 64, 0.0, 0.0, False).getchannel("A")) >= 128
        canvas[: alpha.shape[0], : alpha.shape[1]] = alpha
        shapes[name] = canvas
    for name in NAMES:
        for other in NAMES[: NAMES.index(name)]:
            shared = (shapes[name] & shapes[other]).sum() / (shapes[name] | shapes[other]).sum()
            assert shared < 0.85, (name, other)
