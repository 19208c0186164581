from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from avsctl.rendering.sheet import Cell, SheetRow, class_legend, contact_sheet, save_sheet, second_row

NAMES = ["background", "dog", "lawn_mower"]
COLOURS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)
TITLES = ["Frame", "Prior", "Prediction"]


def rows(count, shape=(90, 160)):
    return [
        SheetRow(n, [np.full((*shape, 3), 10 + 100 * column, np.uint8) for column in range(3)]) for n in range(count)
    ]


def test_each_picture_appears_once_per_row_in_its_column():
    (page,) = contact_sheet(rows(2), TITLES, title="clip", cell_width=100)
    for level in (10, 110, 210):
        places = (page == level).all(2)
        assert places.sum() == pytest.approx(2 * 100 * 56, rel=0.01)
    centres = [np.flatnonzero((page == level).all(2).any(0)).mean() for level in (10, 110, 210)]
    assert centres == sorted(centres)


@pytest.mark.parametrize(("count", "pages"), [(1, 1), (10, 1), (11, 1), (40, 1), (41, 2), (600, 15)])
def test_long_videos_wrap_into_blocks_and_pages(count, pages):
    made = contact_sheet(rows(count), TITLES, cell_width=100, max_width=1700)
    assert len(made) == pages
    assert all(page.shape[1] <= 1700 and page.shape[0] <= 760 for page in made)
    shown = sum(((page == 10).all(2)).sum() for page in made)
    assert shown == pytest.approx(count * 100 * 56, rel=0.01)


def test_upright_and_odd_pictures_keep_their_shape():
    (page,) = contact_sheet(rows(2, (640, 360)), TITLES, cell_width=200)
    ys, xs = np.nonzero((page == 10).all(2))
    assert (xs.max() - xs.min() + 1) / ((ys.max() - ys.min() + 1 - 6) / 2) == pytest.approx(360 / 640, rel=0.02)
    mixed = [
        *rows(1),
        *rows(1, (50, 50)),
        SheetRow("end", [None, None, rows(1)[0].pictures[0]], note="dog\nman"),
    ]
    assert len(contact_sheet(mixed, TITLES)) == 1


def test_a_second_is_drawn_with_prior_prediction_and_truth():
    frame, mask = np.full((90, 160, 3), 120, np.uint8), np.zeros((45, 80), np.uint8)
    mask[20:40, 20:60] = 2
    cells = [Cell(), Cell.of_heat(mask / 2), Cell.of_mask(mask), Cell.of_mask(None)]
    row = second_row(1.5, frame, cells, NAMES, COLOURS)
    assert row.time == 1.5 and row.pictures[3] is None
    assert (row.pictures[0] == 120).all() and (row.pictures[2] != 120).any() and (row.pictures[1] != 120).any()


def test_the_legend_lists_what_appears():
    masks = [np.zeros((3, 3), int), np.full((3, 3), 2)]
    ((name, colour),) = class_legend(masks, NAMES, COLOURS)
    assert name == "lawn mower" and colour[1] > 128 and colour[0] == 0
    plain = contact_sheet(rows(1), TITLES)[0]
    many = contact_sheet(rows(1), TITLES, legend=[(f"class {n}", (n, 0, 0)) for n in range(70)])[0]
    assert many.shape[0] > plain.shape[0] + 24 and many.shape[1] == plain.shape[1]


def test_pages_are_saved_whole(tmp_path):
    paths = save_sheet(contact_sheet(rows(25), TITLES, max_width=1), tmp_path / "sheet.png")
    assert [p.name for p in paths] == ["sheet.png", "sheet-2.png", "sheet-3.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in paths)
    assert Image.open(paths[1]).size[0] > 100


@pytest.mark.parametrize(
    ("wrong", "titles"),
    [([], TITLES), (rows(1), ["one"]), ([SheetRow(0, [None] * 3)], TITLES), (rows(1), [])],
)
def test_sheets_without_pictures_are_refused(wrong, titles):
    with pytest.raises(ValueError):
        contact_sheet(wrong, titles)
