"""Pictures beside each other under labels."""

from __future__ import annotations

import numpy as np
import pytest

from avsctl.rendering.columns import MAX_WIDTH, Columns, shortened


@pytest.mark.parametrize("count", [1, 2, 4, 7, 12])
def test_each_picture_stands_in_its_place_and_players_can_show_it(count):
    columns = Columns([f"run {n}" for n in range(count)], (320, 180))
    pictures = [np.full((*columns.cell[::-1], 3), 60 + 10 * n, np.uint8) for n in range(count)]
    page = columns.draw(pictures)
    assert page.shape[1::-1] == columns.size
    assert columns.size[0] <= MAX_WIDTH + 1 and columns.size[0] % 2 == columns.size[1] % 2 == 0
    for n in range(count):
        ys, xs = np.nonzero((page == 60 + 10 * n).all(2))
        assert len(ys) >= columns.cell[0] * columns.cell[1]
    assert columns.cell[0] / columns.cell[1] == pytest.approx(320 / 180, rel=0.02)


def test_labels_are_written_and_what_is_absent_says_so():
    columns = Columns(["one", "two"], (160, 90))
    page = columns.draw([np.full((*columns.cell[::-1], 3), 99, np.uint8), None])
    head = page[: page.shape[0] - columns.cell[1] - 8]
    left, right = np.split(head, [head.shape[1] // 2], axis=1)
    assert left.max() > 200 and right.max() > 200
    assert (page[-columns.cell[1] :, page.shape[1] // 2 + 10 :] > 120).any(), "the empty cell has a word"
    with pytest.raises(ValueError, match="1 pictures for 2"):
        columns.draw([None])
    with pytest.raises(ValueError, match="cells of"):
        columns.draw([None, np.zeros((5, 5, 3), np.uint8)])


def test_long_labels_lose_their_middle():
    assert shortened("aavs-tiny-all-oracle-s3407", lambda text: len(text) <= 11) == "aavs-…s3407"
    assert shortened("short", lambda text: len(text) <= 11) == "short"
