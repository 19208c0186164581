"""One's own clips and classes."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avsctl.data.folder import Folder
from avsctl.data.labels import read_label
from avsctl.data.media import BrokenClip
from avsctl.errors import AvsctlError

sys.path.append(str(Path(__file__).parents[1] / "rendering"))
from made_videos import make_video  # noqa: E402


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


def _video(path, seconds=3):
    frames = [np.full((12, 16, 3), 20 * n, np.uint8) for n in range(2 * seconds)]
    return make_video(path, frames, [n / 2 for n in range(2 * seconds)], wave=np.full(16000 * seconds, 0.2, np.float32))


def test_a_video_stands_for_frames_and_sound(folder_root):
    shutil.rmtree(folder_root / "cat_7/frames")
    (folder_root / "cat_7/audio.wav").unlink()
    _video(folder_root / "cat_7.mp4")
    record = _load(folder_root, "cat_7")
    assert len(record.frames) == 3 and record.audio.startswith(b"RIFF")
    assert [bool(label) for label in record.labels] == [True, False, True]
    before = Folder(folder_root).listing(Folder(folder_root).entries[1])
    _video(folder_root / "cat_7.mp4", seconds=4)
    dataset = Folder(folder_root)
    assert dataset.entries[1].frames == 4 and dataset.listing(dataset.entries[1]) != before


def test_a_broken_video_is_a_broken_clip(folder_root):
    shutil.rmtree(folder_root / "cat_7/frames")
    (folder_root / "cat_7.mp4").write_bytes(b"nothing that plays")
    with pytest.raises(BrokenClip, match=r"cat_7\.mp4 can't be read"):
        _load(folder_root, "cat_7")
    assert _load(folder_root, "kettle_1").frames


def test_without_their_column_the_labels_that_are_there_count(folder_root):
    table = folder_root / "clips.csv"
    table.write_text("uid,split,subset\nkettle_1,train,home\ncat_7,test,home\n")
    assert [entry.labelled for entry in Folder(folder_root).entries] == [(0, 1, 2), (0, 2)]
    Image.new("L", (16, 12)).save(folder_root / "cat_7/labels/7.png")
    with pytest.raises(AvsctlError, match="line 3: cat_7 has a label of second 7"):
        Folder(folder_root).subset("all")


def test_clips_without_labels_and_classes_are_of_no_kind(folder_root):
    shutil.rmtree(folder_root / "cat_7/labels")
    shutil.rmtree(folder_root / "kettle_1/labels")
    (folder_root / "classes.json").unlink()
    (folder_root / "clips.csv").write_text("uid,split,subset\nkettle_1,train,home\ncat_7,test,home\n")
    dataset = Folder(folder_root)
    assert (dataset.label_kind, dataset.classes) == ("none", ["background"])
    assert not any(dataset.load(dataset.entries[0]).record.labels)


def test_a_coco_file_stands_for_the_labels(folder_root):
    def content(x):
        annotation = {"id": 1, "image_id": 5, "category_id": 2, "segmentation": [[x, 2, 9, 2, 9, 8, x, 8]]}
        image = {"id": 5, "file_name": "cat_7/frames/1.jpg", "width": 16, "height": 12}
        categories = [{"id": 2, "name": "cat"}]
        return json.dumps({"images": [image], "annotations": [annotation], "categories": categories})

    coco = folder_root / "masks.json"
    coco.write_text(content(2))
    table = folder_root / "clips.csv"
    table.write_text("uid,split,subset\nkettle_1,train,home\ncat_7,test,home\n")
    dataset = Folder(folder_root, coco=coco)
    assert dataset.classes == ["background", "kettle", "cat"], "classes.json counts where it is"
    assert [entry.labelled for entry in dataset.entries] == [(), (1,)]
    label = read_label(dataset.load(dataset.entries[1]).record.labels[1])
    assert label[5, 5] == 2 and label[10, 12] == 0
    before = [dataset.listing(entry) for entry in dataset.entries]
    coco.write_text(content(3))
    after = [Folder(folder_root, coco=coco).listing(entry) for entry in dataset.entries]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False]
    (folder_root / "classes.json").unlink()
    assert Folder(folder_root, coco=coco).classes == ["background", "cat"]
    (folder_root / "classes.json").write_text('["background", "kettle"]')
    with pytest.raises(AvsctlError, match="category cat, which .* lacks"):
        Folder(folder_root, coco=coco)
    table.write_text("uid,split,subset,labelled_frames\nkettle_1,train,home,all\ncat_7,test,home,1\n")
    (folder_root / "classes.json").unlink()
    dataset = Folder(folder_root, coco=coco)
    with pytest.raises(BrokenClip, match="no image of second 0 of kettle_1"):
        dataset.load(dataset.entries[0])
