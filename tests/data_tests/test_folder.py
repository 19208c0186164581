"""One's own clips and classes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from avsctl.data.folder import Folder
from avsctl.data.labels import read_label
from avsctl.data.media import BrokenClip
from avsctl.errors import AvsctlError


def _load(root, uid):
    dataset = Folder(root)
    return dataset.load(next(entry for entry in dataset.entries if entry.uid == uid)).record


def test_clips_come_with_their_own_classes_and_labelled_frames(folder_root):
    dataset = Folder(folder_root)
    assert dataset.classes == ["background", "kettle", "cat"]
    record = _load(folder_root, "cat_7")
    assert (record.subset, record.split, record.video) == ("home", "test", "cat_7")
    assert [bool(label) for label in record.labels] == [True, False, True]
    with Image.open(folder_root / "cat_7/labels/2.png") as picture:
        assert np.array_equal(read_label(record.labels[2]), np.asarray(picture))


def test_palette_pictures_are_indices_too(folder_root):
    path = folder_root / "cat_7/labels/0.png"
    with Image.open(path) as picture:
        index = np.asarray(picture)
    coloured = Image.fromarray(index)
    coloured.putpalette([0, 0, 0, 200, 10, 10, 10, 200, 10])
    coloured.save(path)
    assert np.array_equal(read_label(_load(folder_root, "cat_7").labels[0]), index)


def test_png_frames_serve(folder_root):
    old = folder_root / "cat_7/frames/1.jpg"
    with Image.open(old) as picture:
        picture.save(old.with_suffix(".png"))
    old.unlink()
    assert _load(folder_root, "cat_7").frames[1].startswith(b"\x89PNG")


def test_a_video_column_names_the_source(folder_root):
    (folder_root / "clips.csv").write_text(
        "uid,split,subset,labelled_frames,video\nkettle_1,train,home,none,tape\ncat_7,test,home,all,tape\n"
    )
    assert {entry.video for entry in Folder(folder_root).entries} == {"tape"}


@pytest.mark.parametrize(
    "damage, reason",
    [
        (lambda clip: (clip / "frames/1.jpg").unlink(), "1.jpg is missing, but there is a picture 2"),
        (lambda clip: [path.unlink() for path in (clip / "frames").iterdir()], "holds no pictures"),
        (lambda clip: (clip / "labels/2.png").unlink(), "2.png is missing"),
        (lambda clip: Image.new("L", (16, 12), 3).save(clip / "labels/2.png"), "holds class index 3"),
        (lambda clip: Image.new("RGB", (16, 12)).save(clip / "labels/2.png"), "pixels of kind RGB"),
        (lambda clip: Image.new("F", (16, 12), float("nan")).save(clip / "labels/2.png", "TIFF"), "holds NaN"),
    ],
)
def test_a_broken_clip_is_named(folder_root, damage, reason):
    damage(folder_root / "cat_7")
    with pytest.raises(BrokenClip, match=reason):
        _load(folder_root, "cat_7")


@pytest.mark.parametrize(
    "row, reason",
    [
        ("../cat,test,home,all", "could lead out"),
        ("cat_7,test,ho/me,all", "could lead out"),
        ("cat_7,test,all,all", "take another name"),
        ("cat_7,test,home,", "labelled_frames ''"),
        ("cat_7,test,home,0 3", "labelled_frames '0 3'"),
        ("cat_7,test,home,some", "labelled_frames 'some'"),
        ("kettle_1,test,home,all", "stands in line 2 already in another split"),
    ],
)
def test_a_bad_row_is_named_with_its_line(folder_root, row, reason):
    (folder_root / "clips.csv").write_text(f"uid,split,subset,labelled_frames\nkettle_1,train,home,all\n{row}\n")
    with pytest.raises(AvsctlError, match=f"line 3: .*{reason}"):
        Folder(folder_root).subset("all")


@pytest.mark.parametrize("content", ["{}", '["background"]', '["a", "a"]', '["a", 1]', "no json"])
def test_a_bad_class_file_is_refused(folder_root, content):
    (folder_root / "classes.json").write_text(content)
    with pytest.raises(AvsctlError, match=r"classes\.json"):
        Folder(folder_root)
