"""Masks in COCO files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as codec

from avsctl.data.coco import CocoMasks, find_second
from avsctl.data.media import BrokenClip
from avsctl.errors import AvsctlError

WIDTH, HEIGHT = 40, 30
CATEGORIES = [{"id": 7, "name": "kettle"}, {"id": 3, "name": "cat"}]
SQUARE = [4.0, 5.0, 20.0, 5.0, 20.0, 25.0, 4.0, 25.0]


def blob() -> np.ndarray:
    """A mask that no polygon of few points describes."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return ((x - 25) ** 2 + (y - 15) ** 2 < 64) & ((x + y) % 3 > 0)


def plain_counts(mask: np.ndarray) -> list[int]:
    """Lengths of runs of 0 and 1 in turn, down the columns."""
    flat = np.concatenate([[0], mask.T.ravel().astype(int), [2]])
    starts = np.flatnonzero(np.diff(flat))
    runs = np.diff(np.concatenate([[0], starts])).tolist()
    return runs if not mask.T.ravel()[0] else [0, *runs]


def write(path, annotations, images=None, categories=None):
    images = images or [{"id": 1, "file_name": "tea/frames/2.jpg", "width": WIDTH, "height": HEIGHT}]
    content = {"images": images, "annotations": annotations, "categories": categories or CATEGORIES}
    path.write_text(json.dumps(content))
    return path


def annotation(segmentation, category=7, number=1, image=1):
    return {"id": number, "image_id": image, "category_id": category, "segmentation": segmentation}


def label(path, classes=("background", "cat", "kettle")):
    return CocoMasks(path, {"tea"}).label("tea", 2, (WIDTH, HEIGHT), list(classes))


def test_polygons_become_class_indices(tmp_path):
    path = write(tmp_path / "a.json", [annotation([SQUARE])])
    masks = CocoMasks(path, {"tea"})
    assert masks.names == ["background", "cat", "kettle"], "categories in the order of their ids"
    assert masks.labelled("tea") == (2,)
    found = label(path)
    image = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(image).polygon(list(zip(SQUARE[::2], SQUARE[1::2], strict=True)), fill=2)
    assert set(np.unique(found)) == {0, 2}
    assert (found != np.asarray(image)).mean() < 0.05  # they differ on which border pixels are inside


@pytest.mark.parametrize("compressed", [True, False])
def test_run_lengths_are_exact(tmp_path, compressed):
    mask = blob()
    runs = {"size": [HEIGHT, WIDTH], "counts": plain_counts(mask)}
    if compressed:
        runs["counts"] = codec.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    found = label(write(tmp_path / "a.json", [annotation(runs, category=3)]))
    np.testing.assert_array_equal(found, mask.astype(np.uint8))


def test_the_smaller_object_is_in_front_whatever_the_order(tmp_path):
    small = [8.0, 8.0, 14.0, 8.0, 14.0, 14.0, 8.0, 14.0]
    for order in (1, -1):
        both = [annotation([small], category=3, number=1), annotation([SQUARE], category=7, number=2)][::order]
        found = label(write(tmp_path / "a.json", both))
        assert found[10, 10] == 1 and found[20, 10] == 2


def test_a_listed_picture_without_annotations_is_background(tmp_path):
    path = write(tmp_path / "a.json", [])
    assert CocoMasks(path, {"tea"}).labelled("tea") == (2,)
    assert not label(path).any()


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("tea/frames/2.jpg", ("tea", 2)),
        ("export/images/tea/12.png", ("tea", 12)),
        ("train\\tea\\0.jpg", ("tea", 0)),
        ("tea_3.jpg", ("tea", 3)),
        ("images/a-b_0_5000-4.jpeg", ("a-b_0_5000", 4)),
        ("coffee_3.jpg", None),
        ("3.jpg", None),
        ("tea.jpg", None),
    ],
)
def test_the_name_of_a_picture_says_whose_it_is(name, place):
    assert find_second(name, {"tea", "a-b_0_5000"}) == place


@pytest.mark.parametrize(
    ("segmentation", "says"),
    [
        ([], "only a box"),
        ([[1, 2, 3]], "three or more points"),
        ([[1, 2, 3, 4, 5, "x"]], "no number"),
        ({"size": [HEIGHT, 9], "counts": [9]}, "of size"),
        ({"counts": [9]}, "size"),
        ("text", "can't be read"),
    ],
)
def test_an_annotation_that_cannot_be_read_is_named(tmp_path, segmentation, says):
    path = write(tmp_path / "a.json", [annotation(segmentation, number=42)])
    with pytest.raises(BrokenClip, match=f"annotation 42 .*{says}"):
        label(path)


def test_a_picture_of_another_size_than_its_frame_is_named(tmp_path):
    masks = CocoMasks(write(tmp_path / "a.json", []), {"tea"})
    with pytest.raises(BrokenClip, match="40x30 pixels, but the frame has 80x60"):
        masks.label("tea", 2, (80, 60), masks.names)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": [{"id": 1, "file_name": "x/2.jpg", "width": 4, "height": 4}]}, "belongs to no clip"),
        ({"images": [{"id": 1, "file_name": "tea/2.jpg"}]}, "lacks file_name, width or height"),
        ({"images": 3}, "lacks the list images"),
        ({"annotations": [annotation([SQUARE], image=9)]}, "image 9"),
        ({"annotations": [annotation([SQUARE], category=9)]}, "category 9"),
        ({"categories": []}, "needs categories"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "two categories alike"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "an id and a name of its own"),
    ],
)
def test_a_file_that_is_no_coco_file_of_these_clips_is_refused(tmp_path, change, says):
    path = write(tmp_path / "a.json", [])
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(AvsctlError, match=says):
        CocoMasks(path, {"tea"})


def test_without_pycocotools_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    with pytest.raises(AvsctlError, match=r"pip install 'avsctl\[coco\]'"):
        label(write(tmp_path / "a.json", [annotation([SQUARE])]))
