"""The picture of what sounds when."""

from __future__ import annotations

import numpy as np
import pytest

from avsctl.rendering.images import read_rgb
from avsctl.rendering.overlay import vivid
from avsctl.rendering.timeline import Group, draw_timeline

DOG = {"colour": [128, 0, 0], "intervals": [[0.0, 2.5], [7.5, 10.0]], "confidence": 0.9}
CAT = {"colour": [0, 128, 0], "intervals": [[2.5, 5.0]], "confidence": 0.5}


def extents(picture, colour):
    """Columns where the colour is, as fractions from its first to its last place."""
    near = (np.abs(picture.astype(int) - vivid(np.array(colour)).astype(int)).max(2) < 8).any(0)
    return np.flatnonzero(near)


def test_bars_stand_where_their_class_sounds(tmp_path):
    wave = np.sin(np.arange(160000) / 5).astype(np.float32)[:, None]
    groups = [Group("", {"dog": DOG, "cat": CAT})]
    picture = read_rgb(draw_timeline(groups, (0.0, 10.0), tmp_path / "t.png", sound=(wave, 16000), title="$a_b$.mp4"))
    dog, cat = extents(picture, DOG["colour"]), extents(picture, CAT["colour"])
    start, width = dog.min(), dog.max() - dog.min()  # the dog's first and last bar span the whole
    assert (cat.min() - start) / width == pytest.approx(0.25, abs=0.01)
    assert (cat.max() - start) / width == pytest.approx(0.5, abs=0.01)
    gaps = np.diff(dog)
    assert (gaps > 0.4 * width).sum() == 1
    assert [path.name for path in tmp_path.iterdir()] == ["t.png"]


def test_a_stretch_shows_its_own_seconds(tmp_path):
    late = {**CAT, "intervals": [[4.0, 5.0]]}
    picture = read_rgb(draw_timeline([Group("", {"cat": late})], (4.0, 6.0), tmp_path / "t.png"))
    cat = extents(picture, CAT["colour"])
    assert (cat.max() - cat.min()) / picture.shape[1] > 0.35  # half of the axis


def test_silence_and_several_runs_have_their_places(tmp_path):
    one = read_rgb(draw_timeline([Group("", {})], (0.0, 1.0), tmp_path / "one.png"))
    two = read_rgb(draw_timeline([Group("a", {"dog": DOG}), Group("b", {})], (0.0, 10.0), tmp_path / "two.png"))
    assert two.shape[0] > one.shape[0] and two.shape[1] == one.shape[1]
    with pytest.raises(ValueError, match="span"):
        draw_timeline([], (0.0, 1.0), tmp_path / "none.png")
