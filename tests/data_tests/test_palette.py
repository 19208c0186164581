from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avsctl.data.palette import CLASS_NAMES, colours_to_index, index_to_colours, palette

SHARED = Path(os.environ.get("AVSCTL_SHARED", Path(__file__).parents[2].parent / "shared"))


def slow_colour(index: int) -> tuple[int, int, int]:
    """The Pascal VOC rule by digits: the bits of each octal digit are the next lower bits of R, G and B."""
    channels = ["", "", ""]
    for digit in reversed(f"{index:08o}"):
        blue, green, red = f"{int(digit):03b}"
        for k, bit in enumerate((red, green, blue)):
            channels[k] += bit
    return tuple(int(bits, 2) for bits in channels)


def test_first_colours_are_those_of_pascal_voc():
    expected = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    assert [tuple(row) for row in palette(10)[:5].tolist()] == expected
    assert palette(10)[8:].tolist() == [[64, 0, 0], [192, 0, 0]]


def test_palette_equals_the_slow_rule_for_every_index():
    colours = palette(256)
    assert colours.shape == (256, 3) and colours.dtype == np.uint8
    assert [tuple(row) for row in colours.tolist()] == [slow_colour(j) for j in range(256)]


@pytest.mark.parametrize("n", [1, 71, 256])
def test_every_index_survives_being_painted(n):
    index = np.arange(n, dtype=np.uint8).reshape(1, n)
    back, stray = colours_to_index(index_to_colours(index, n), n)
    assert stray == 0 and back.dtype == np.uint8
    np.testing.assert_array_equal(back, index)


def test_colours_outside_the_palette_become_background_and_are_counted():
    rgb = np.zeros((2, 3, 3), dtype=np.uint8)
    rgb[0] = [(128, 0, 0), (128, 0, 1), (255, 255, 255)]
    rgb[1, 2] = palette(72)[71]  # the first colour past AVSBench's 71
    index, stray = colours_to_index(rgb)
    np.testing.assert_array_equal(index, [[1, 0, 0], [0, 0, 0]])
    assert stray == 3


@pytest.mark.parametrize("step", [1, 2])
def test_indices_are_those_of_one_comparison_per_class(step):
    rng = np.random.default_rng(3)
    rgb = palette(80)[rng.integers(0, 80, (60, 90))]  # nine of the colours are of no class
    rgb[rng.random((60, 90)) < 0.05] += 1
    rgb = rgb[:, ::step]
    expected, found = np.zeros(rgb.shape[:2], np.uint8), np.zeros(rgb.shape[:2], bool)
    for j, colour in enumerate(palette(71)):
        match = (rgb == colour).all(axis=2)
        expected[match], found = j, found | match
    index, stray = colours_to_index(rgb)
    np.testing.assert_array_equal(index, expected)
    assert stray == np.count_nonzero(~found) > 0


def test_wrong_calls_raise_value_errors():
    with pytest.raises(ValueError, match="1 to 256"):
        palette(257)
    with pytest.raises(ValueError, match="below 71"):
        index_to_colours(np.array([[71]]))
    with pytest.raises(ValueError, match="uint8"):
        colours_to_index(np.zeros((4, 4), dtype=np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        colours_to_index(np.zeros((4, 4, 3), dtype=np.int64))


def test_classes_are_the_71_of_avsbench_in_order():
    assert len(CLASS_NAMES) == len(set(CLASS_NAMES)) == 71
    chosen = {0: "background", 11: "car", 22: "emergency-car", 38: "keyboard", 47: "piano", 70: "woman"}
    assert {i: CLASS_NAMES[i] for i in chosen} == chosen


@pytest.mark.skipif(not (SHARED / "avs_real").is_dir(), reason="no real clips here")
def test_real_labels_read_the_same_from_colours_and_from_indices():
    pictures = sorted((SHARED / "avs_real").glob("v1*/*/labels_rgb/0.png"))[:20]
    assert pictures
    for path in pictures:
        index, stray = colours_to_index(np.asarray(Image.open(path)))
        same = np.asarray(Image.open(path.parent.parent / "labels_semantic" / path.name))
        np.testing.assert_array_equal(index, same, err_msg=str(path))
        assert stray == 0
