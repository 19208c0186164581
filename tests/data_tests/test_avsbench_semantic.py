"""AVSBench-semantic is read by the rules of the released readers."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from PIL import Image

from avsctl.data.avsbench_semantic import AVSBenchSemantic, source_video
from avsctl.data.labels import read_label
from avsctl.data.media import BrokenClip
from avsctl.data.palette import CLASS_NAMES
from avsctl.errors import AvsctlError


def _load(root, uid):
    dataset = AVSBenchSemantic(root)
    return dataset.load(next(entry for entry in dataset.entries if entry.uid == uid))


def test_frames_and_sound_are_kept_as_they_are(semantic_root):
    record = _load(semantic_root, "ddddddddddd_60000_70000").record
    folder = semantic_root / "v2/ddddddddddd_60000_70000"
    assert record.frames == [(folder / f"frames/{n}.jpg").read_bytes() for n in range(10)]
    assert record.audio == (folder / "audio.wav").read_bytes()


def test_short_clips_have_five_frames_and_v2_ten(semantic_root):
    counts = {entry.uid: entry.frames for entry in AVSBenchSemantic(semantic_root).entries}
    assert counts["ccccccccccc_0"] == 5
    assert counts["ddddddddddd_16000_26000"] == 10


def test_s4_training_clips_are_labelled_in_their_first_frame_whatever_lies_there(semantic_root):
    folder = semantic_root / "v1s/aaaaaaaaaaa_4000_9000/labels_rgb"
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes())
    labels = _load(semantic_root, "aaaaaaaaaaa_4000_9000").record.labels
    assert [bool(label) for label in labels] == [True, False, False, False, False]
    assert all(_load(semantic_root, "bbbbbbbbbbb_0_5000").record.labels)


def test_labels_keep_the_size_of_their_frame(semantic_root):
    label = read_label(_load(semantic_root, "aaaaaaaaaaa_4000_9000").record.labels[0])
    assert label.shape == (54, 96)
    assert set(np.unique(label)) == {0, CLASS_NAMES.index("bird")}


def test_a_colour_outside_the_palette_is_background_and_counted(semantic_root):
    loaded = _load(semantic_root, "bbbbbbbbbbb_0_5000")
    assert list(loaded.off_palette.values()) == [36]
    assert set(np.unique(read_label(loaded.record.labels[0]))) == {0, CLASS_NAMES.index("cat")}


def test_classes_come_from_the_one_based_file(semantic_root):
    assert AVSBenchSemantic(semantic_root).classes == list(CLASS_NAMES)


@pytest.mark.parametrize(
    "uid, vid, label, video",
    [
        ("_19NVGk6Zt8_0", "_19NVGk6Zt8_0", "v1m", "_19NVGk6Zt8"),
        ("xv7eM6-UmkY_36", "xv7eM6-UmkY_36", "v1m", "xv7eM6-UmkY"),
        ("jlhuZfcw61w", "jlhuZfcw61w", "v1m", "jlhuZfcw61w"),
        ("abcdefgh_42", "abcdefgh_42", "v1m", "abcdefgh_42"),  # eleven characters that happen to end so
        ("baby_dog_2_1", "baby_dog_2_1", "v1m", "baby_dog_2_1"),
        ("_-apT0tfo6U_60000_70000", "_-apT0tfo6U", "v2", "_-apT0tfo6U"),
    ],
)
def test_the_source_video_of_a_clip(uid, vid, label, video):
    assert source_video(uid, vid, label) == video


def test_the_real_table_is_read_in_full_with_its_dirt(real_tables):
    dataset = AVSBenchSemantic(real_tables / "semantic")
    assert dataset.problems == []
    assert len(dataset.entries) == 11356
    names = {name for entry in dataset.entries for name in entry.objects}
    assert {"off-the-screen", "h orse", "background"} <= names


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _resave(path, picture):
    picture.save(path, format="TIFF" if picture.mode == "F" else "PNG")


BREAKS = {
    "clip folder missing": (".", lambda p: p.rename(p.with_name("away")), "is missing"),
    "frames missing": ("frames", lambda p: p.rename(p.with_name("away")), "is missing"),
    "frame missing": ("frames/3.jpg", lambda p: p.unlink(), "4 of its 5 frames"),
    "frame empty": ("frames/3.jpg", lambda p: p.write_bytes(b""), "is empty"),
    "frame cut off": ("frames/3.jpg", _truncate, "broken or cut off"),
    "frame no picture": ("frames/3.jpg", lambda p: p.write_text("hello"), "is no JPEG or PNG picture"),
    "label missing": ("labels_rgb/2.png", lambda p: p.unlink(), "is missing"),
    "label cut off": ("labels_rgb/2.png", _truncate, "broken or cut off"),
    "label of another size": ("labels_rgb/2.png", lambda p: _resave(p, Image.new("RGB", (9, 9))), "its frame is 54x96"),
    "label of NaN": ("labels_rgb/2.png", lambda p: _resave(p, Image.new("F", (54, 96), float("nan"))), "NaN"),
    "label of 16 bits": ("labels_rgb/2.png", lambda p: _resave(p, Image.new("I;16", (54, 96))), "pixels of kind"),
    "sound missing": ("audio.wav", lambda p: p.unlink(), "is missing"),
    "sound no wav": ("audio.wav", lambda p: p.write_text("hello"), "no readable wav"),
    "sound without samples": ("audio.wav", lambda p: soundfile.write(p, np.zeros(0), 16000), "no samples"),
    "sound of NaN": (
        "audio.wav",
        lambda p: soundfile.write(p, np.full(99, np.nan, np.float32), 16000, subtype="FLOAT"),
        "not numbers",
    ),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_clip_is_named_with_its_path(semantic_root, what):
    place, damage, reason = BREAKS[what]
    path = semantic_root / "v1s/bbbbbbbbbbb_0_5000" / place
    damage(path)
    with pytest.raises(BrokenClip, match=reason) as caught:
        _load(semantic_root, "bbbbbbbbbbb_0_5000")
    assert caught.value.path == str(path)


ROWS = {
    "a,../x,0,0,cat,train,v2": "could lead out",
    "a,/etc,0,0,cat,train,v2": "could lead out",
    "a,..,0,0,cat,train,v2": "could lead out",
    "a,b\\c,0,0,cat,train,v2": "could lead out",
    "a,,0,0,cat,train,v2": "no uid",
    "a,b,0,0,cat,training,v2": "split 'training'",
    "a,b,0,0,cat,train,v3": "label 'v3'",
    "a,b": "no|split",
    "a,aaaaaaaaaaa_4000_9000,0,0,cat,train,v1s": "stands in line 2 already",
    "a,aaaaaaaaaaa_4000_9000,0,0,cat,test,v1s": "in another split",
}


@pytest.mark.parametrize("row", ROWS)
def test_a_bad_row_is_named_with_its_line(semantic_root, row):
    table = semantic_root / "metadata.csv"
    table.write_text(table.read_text().rstrip("\n") + "\n" + row + "\n")
    with pytest.raises(AvsctlError, match=f"metadata.csv, line 7: .*({ROWS[row]})"):
        AVSBenchSemantic(semantic_root).subset("all")


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "lacks the column"),
        (b"vid,uid,split,label\na,b,train,v2\n", "lacks the column a_obj"),
        (b"vid,uid,s_min,s_sec,a_obj,split,label\n", "lists no clips"),
        (b"\xff\xfe\x00", "not a UTF-8"),
    ],
)
def test_a_bad_table_is_refused(semantic_root, content, reason):
    (semantic_root / "metadata.csv").write_bytes(content)
    with pytest.raises(AvsctlError, match=reason):
        AVSBenchSemantic(semantic_root)


@pytest.mark.parametrize("content", ["[]", "{", '{"background": 0, "cat": 1}', '{"a": 1, "b": 3}', '{"a": "1"}', "{}"])
def test_a_bad_class_file_is_refused(semantic_root, content):
    (semantic_root / "label2idx.json").write_text(content)
    with pytest.raises(AvsctlError, match=r"label2idx\.json"):
        AVSBenchSemantic(semantic_root)
