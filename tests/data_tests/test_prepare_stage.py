"""`prepare` writes the same cache however often it is stopped, and nothing half-made."""

from __future__ import annotations

import json
import shutil

import pytest

from avsctl.caches.clips import ClipCache
from avsctl.data.layouts import open_dataset
from avsctl.errors import AvsctlError
from avsctl.stages.prepare import prepare, skipped_list

BROKEN = "v1m/ccccccccccc_0/frames/2.jpg"


@pytest.fixture
def many(semantic_root):
    """Twenty-three clips, six shards."""
    table = semantic_root / "metadata.csv"
    lines = table.read_text().rstrip("\n").split("\n")
    for number in range(18):
        uid = f"zzzzzzzzzzz_{number}_{number + 5000}"
        shutil.copytree(semantic_root / "v1s/bbbbbbbbbbb_0_5000", semantic_root / "v1s" / uid)
        lines.append(f"zzzzzzzzzzz,{uid},0,0,cat,test,v1s")
    table.write_text("\n".join(lines) + "\n")
    return semantic_root


def _prepare(root, out, **options):
    return prepare(open_dataset(root), out, **{"workers": 0, **options})


def test_every_clip_comes_back_in_order(semantic_root, tmp_path):
    dataset = open_dataset(semantic_root)
    clips = ClipCache(prepare(dataset, tmp_path / "clips.h5", workers=0))
    assert clips.uids == [entry.uid for entry in dataset.entries]
    assert clips.videos[2] == "ccccccccccc"
    assert clips.labelled(0).tolist() == [True, False, False, False, False]
    for position, entry in enumerate(dataset.entries):
        record = dataset.load(entry).record
        assert clips.frame_bytes(position) == record.frames
        assert clips.label_bytes(position) == record.labels
        assert clips.audio_bytes(position) == record.audio
        assert clips.verify(position)


def test_log_mel_and_missing_wav_of_avsbench_object_come_back(object_root, tmp_path):
    dataset = open_dataset(object_root)
    clips = ClipCache(prepare(dataset, tmp_path / "clips.h5", workers=0, skip_broken=True))
    assert (clips.label_kind, clips.classes) == ("binary", ["background", "sounding"])
    record = dataset.load(dataset.entries[0]).record
    assert (clips.log_mel(0) == record.log_mel).all()
    assert clips.audio_bytes(0) == b""


def test_one_or_two_workers_write_the_same_bytes(many, tmp_path):
    alone = _prepare(many, tmp_path / "1/clips.h5", workers=1)
    together = _prepare(many, tmp_path / "2/clips.h5", workers=2)
    assert alone.read_bytes() == together.read_bytes()


def test_a_stopped_run_leaves_shards_and_the_next_reads_only_the_rest(many, tmp_path, monkeypatch):
    straight = _prepare(many, tmp_path / "straight/clips.h5").read_bytes()
    out = tmp_path / "clips.h5"

    def stop_after_ten(items, description="", total=None):
        for number, item in enumerate(items):
            if number == 10:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        _prepare(many, out, track=stop_after_ten)
    assert not out.exists()
    assert len(list(tmp_path.glob(".clips.h5.shards/*/*.npz"))) == 3

    dataset = open_dataset(many)
    read = []
    load = type(dataset).load
    monkeypatch.setattr(type(dataset), "load", lambda self, entry: read.append(entry.uid) or load(self, entry))
    prepare(dataset, out, workers=0)
    assert read == [entry.uid for entry in dataset.entries[12:]]
    assert out.read_bytes() == straight
    assert not list(tmp_path.glob(".clips.h5.shards*"))


def test_a_file_that_changed_after_a_stop_is_read_again(many, tmp_path):
    out = tmp_path / "clips.h5"
    (many / "v1s/zzzzzzzzzzz_17_5017/audio.wav").rename(many / "audio.wav")
    with pytest.raises(AvsctlError, match="zzzzzzzzzzz_17_5017/audio.wav is missing"):
        _prepare(many, out)
    (many / "audio.wav").rename(many / "v1s/zzzzzzzzzzz_17_5017/audio.wav")
    frames = many / "v1s/bbbbbbbbbbb_0_5000/frames"
    (frames / "0.jpg").write_bytes((frames / "1.jpg").read_bytes())
    clips = ClipCache(_prepare(many, out))
    assert clips.frame_bytes(1)[0] == clips.frame_bytes(1)[1]


def test_a_broken_clip_stops_the_run_with_its_path_and_writes_nothing(semantic_root, tmp_path):
    (semantic_root / BROKEN).write_bytes(b"broken")
    with pytest.raises(AvsctlError, match=f"{BROKEN} is no JPEG or PNG picture.*--skip-broken"):
        _prepare(semantic_root, tmp_path / "clips.h5")
    assert not (tmp_path / "clips.h5").exists()


def test_skip_broken_lists_every_clip_it_left_out(semantic_root, tmp_path):
    out = tmp_path / "clips.h5"
    (semantic_root / BROKEN).write_bytes(b"broken")
    shutil.rmtree(semantic_root / "v2/ddddddddddd_16000_26000")
    assert len(ClipCache(_prepare(semantic_root, out, skip_broken=True))) == 3
    skipped = json.loads(skipped_list(out).read_text())
    assert [(clip["uid"], clip["path"].split("semantic/")[1], clip["reason"]) for clip in skipped] == [
        ("ccccccccccc_0", BROKEN, "is no JPEG or PNG picture"),
        ("ddddddddddd_16000_26000", "v2/ddddddddddd_16000_26000", "is missing"),
    ]


def test_a_cache_that_lacks_clips_is_not_taken_for_whole(semantic_root, tmp_path):
    out = tmp_path / "clips.h5"
    whole = (semantic_root / BROKEN).read_bytes()
    (semantic_root / BROKEN).write_bytes(b"broken")
    _prepare(semantic_root, out, skip_broken=True)
    _prepare(semantic_root, out, skip_broken=True)
    with pytest.raises(AvsctlError, match="lacks 1 broken clips.*clips.skipped.json"):
        _prepare(semantic_root, out)
    (semantic_root / BROKEN).write_bytes(whole)
    assert len(ClipCache(_prepare(semantic_root, out, overwrite=True))) == 5
    assert not skipped_list(out).exists()


def test_nothing_left_is_an_error(semantic_root, tmp_path):
    for place in ("v1s", "v1m", "v2"):
        shutil.rmtree(semantic_root / place)
    with pytest.raises(AvsctlError, match="Not one clip can be read"):
        _prepare(semantic_root, tmp_path / "clips.h5", skip_broken=True)
    assert not (tmp_path / "clips.h5").exists()


def test_an_up_to_date_cache_is_left_alone(semantic_root, tmp_path):
    out = _prepare(semantic_root, tmp_path / "clips.h5")
    before = out.stat().st_mtime_ns
    moved = semantic_root.with_name("moved")
    semantic_root.rename(moved)
    _prepare(moved, out)
    assert out.stat().st_mtime_ns == before


@pytest.mark.parametrize("what", ["subset", "file", "csv"])
def test_another_content_is_refused_without_overwrite(semantic_root, tmp_path, what):
    out = _prepare(semantic_root, tmp_path / "clips.h5")
    before = out.read_bytes()
    options = {"subset": "v2"} if what == "subset" else {}
    if what == "file":
        frames = semantic_root / "v2/ddddddddddd_60000_70000/frames"
        shutil.copy(frames / "3.jpg", frames / "1.jpg")
    if what == "csv":
        table = semantic_root / "metadata.csv"
        table.write_text(table.read_text().replace("woman,val,v2", "woman,test,v2"))
    with pytest.raises(AvsctlError, match="--overwrite"):
        _prepare(semantic_root, out, **options)
    assert out.read_bytes() == before
    _prepare(semantic_root, out, overwrite=True, **options)
    assert out.read_bytes() != before


def test_ones_own_classes_reach_the_cache(folder_root, tmp_path):
    dataset = open_dataset(folder_root, command="avsctl prepare folder")
    clips = ClipCache(prepare(dataset, tmp_path / "clips.h5", workers=0))
    assert clips.classes == ["background", "kettle", "cat"]
    assert clips.palette.shape == (3, 3)
    assert clips.select(split="test", subset="home") == [1]
