"""Label maps equal what the released readers return."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from avsctl.data.avsbench_semantic import AVSBenchSemantic
from avsctl.data.labels import binary_label, read_label, semantic_label, short_side_crop, sounding_colours
from avsctl.data.media import index_png
from avsctl.data.palette import palette

DIRTY = ("bbbbbbbbbbb_0_5000", 0)  # holds 36 pixels of (1, 2, 3), which is in no palette


@pytest.fixture
def stored(semantic_root):
    """[(uid, split, subset folder, frame, index map)] of every label."""
    dataset = AVSBenchSemantic(semantic_root)
    found = []
    for entry in dataset.entries:
        for number, data in enumerate(dataset.load(entry).record.labels):
            if data:
                found.append((entry.uid, entry.split, entry.place[0], number, read_label(data)))
    assert len(found) == 1 + 5 + 5 + 10 + 10
    return found


def test_semantic_labels_are_those_of_stepping_stones(stored, readers):
    for uid, _, _, number, index in stored:
        assert np.array_equal(semantic_label(index, 224), readers[f"ss_avss.{uid}.mask_recs_u8"][number])


def test_bilinear_binary_labels_are_those_of_stepping_stones(stored, readers):
    for uid, _, _, number, index in stored:
        if (uid, number) != DIRTY:
            assert np.array_equal(binary_label(index, 224), readers[f"ss_avs.{uid}.mask_recs_u8"][number])


def test_bilinear_binary_labels_of_the_colours_themselves_include_foreign_colours(semantic_root, readers):
    uid, number = DIRTY
    with Image.open(semantic_root / f"v1s/{uid}/labels_rgb/{number}.png") as picture:
        found = sounding_colours(np.asarray(picture.convert("RGB")), 224)
    assert np.array_equal(found, readers[f"ss_avs.{uid}.mask_recs_u8"][number])


def test_bilinear_borders_grow_and_nearest_borders_do_not(stored):
    _, _, _, _, index = stored[0]
    bilinear, nearest = binary_label(index, 224), binary_label(index, 224, rule="nearest")
    assert bilinear.sum() > nearest.sum()
    assert not (nearest & ~bilinear & 1).any()


def test_semantic_labels_are_those_of_avsbench(stored, readers):
    for uid, split, _, number, index in stored:
        if split == "train":
            found = np.asarray(short_side_crop(Image.fromarray(index), 224, label=True))
        else:
            found = semantic_label(index, 224)
        assert np.array_equal(found, readers[f"avss.{uid}.labels_u8"][number])


@pytest.mark.parametrize("uid, crop", [("aaaaaaaaaaa_4000_9000", True), ("bbbbbbbbbbb_0_5000", False)])
def test_frames_at_224_are_those_of_avsbench(semantic_root, readers, uid, crop):
    expected = readers[f"avss.{uid}.imgs_stride8"]
    for number in range(5):
        with Image.open(semantic_root / f"v1s/{uid}/frames/{number}.jpg") as picture:
            frame = short_side_crop(picture, 224) if crop else picture.resize((224, 224), Image.Resampling.BILINEAR)
        values = (np.asarray(frame) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
        # JPEG decoders differ by up to 2 of 255.
        assert np.abs(values.transpose(2, 0, 1)[:, ::8, ::8] - expected[number]).max() < 2.1 / 255 / 0.22


def test_bilinear_resizing_matches_a_slow_obvious_version():
    rng = np.random.default_rng(0)
    for height, width in ((30, 51), (9, 13), (16, 16), (8, 8), (5, 40), (1, 1)):
        index = np.kron(rng.integers(0, 71, (3, 5)), np.ones((11, 11), int))[:height, :width]
        rgb = np.resize(palette(71)[index], (height, width, 3))
        assert np.array_equal(sounding_colours(rgb, 8), _slow(rgb, 8))


def _slow(rgb, size):
    """Bilinear in floating point; anything that reaches grey 0.5 sounds."""
    height, width = rgb.shape[:2]
    found = np.zeros((size, size), np.uint8)
    for y, x in np.ndindex(size, size):
        row = min(max((y + 0.5) * height / size - 0.5, 0), height - 1)
        column = min(max((x + 0.5) * width / size - 0.5, 0), width - 1)
        top, left = int(row), int(column)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        down, across = row - top, column - left
        upper = rgb[top, left] * (1 - across) + rgb[top, right] * across
        lower = rgb[bottom, left] * (1 - across) + rgb[bottom, right] * across
        colour = np.floor(upper * (1 - down) + lower * down + 0.5)
        found[y, x] = colour @ (0.299, 0.587, 0.114) >= 0.5
    return found


def test_a_label_comes_back_from_its_png():
    index = np.random.default_rng(0).integers(0, 71, (7, 9), np.uint8)
    assert np.array_equal(read_label(index_png(index)), index)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="bilinear"):
        binary_label(np.zeros((2, 2), np.uint8), 4, rule="cubic")


def test_the_tiny_csv_is_the_real_ones_kind(semantic_root):
    with (semantic_root / "metadata.csv").open() as handle:
        assert next(csv.reader(handle)) == ["vid", "uid", "s_min", "s_sec", "a_obj", "split", "label"]
