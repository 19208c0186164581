"""Contact sheets: one row per second, one column per picture of it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from avsctl.rendering.columns import shortened
from avsctl.rendering.images import checked_rgb
from avsctl.rendering.overlay import draw_heat, draw_masks, load_font, vivid

CELL_WIDTH = 240

_INK, _FAINT, _PAPER, _EMPTY = (28, 30, 34), (110, 114, 122), (250, 250, 248), (226, 226, 222)
_GAP, _MARGIN, _TIME_WIDTH = 6, 18, 58


@dataclass(frozen=True)
class SheetRow:
    """One second of a sheet.

    Attributes:
        time: Seconds, or the text to print.
        pictures: (H, W, 3) uint8 arrays of any size, one per column; None leaves the cell empty.
        note: Small text below the time, e.g. which classes sound.
    """

    time: float | str
    pictures: Sequence[np.ndarray | None]
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """What a cell shows over its frame: nothing, a probability map as heat, or class indices as masks with names.

    Attributes:
        heat: (h, w) in [0, 1] or uint8. mask: (h, w) class indices. absent: leaves the cell empty.
    """

    heat: np.ndarray | None = None
    mask: np.ndarray | None = None
    absent: bool = False

    @classmethod
    def of_heat(cls, heat: np.ndarray | None) -> Cell:
        """A probability map, an empty cell for None."""
        return cls(heat=heat, absent=heat is None)

    @classmethod
    def of_mask(cls, mask: np.ndarray | None) -> Cell:
        """A mask, an empty cell for None."""
        return cls(mask=mask, absent=mask is None)


def second_row(
    time: float | str,
    frame: np.ndarray,
    cells: Sequence[Cell],
    names: Sequence[str],
    colours: np.ndarray,
    *,
    note: str = "",
    cell_width: int = CELL_WIDTH,
) -> SheetRow:
    """Draw one second: the same frame in every cell, with what each lays over it.

    Args:
        time: Seconds or a text.
        frame: (H, W, 3) uint8.
        names, colours: As in `draw_masks`.
        note: As in `SheetRow`.
        cell_width: The frame is brought to its size in a sheet of such cells first, for legible names.
    Raises: ValueError: If an array has a wrong shape.
    """
    height, width = checked_rgb(frame).shape[:2]
    frame = np.array(_fitted(frame, *_cell_size(height, width, cell_width)))
    return SheetRow(time, [draw_cell(frame, cell, names, colours) for cell in cells], note)


def draw_cell(
    frame: np.ndarray, cell: Cell, names: Sequence[str], colours: np.ndarray, alpha: float = 0.5
) -> np.ndarray | None:
    """The frame with what a cell lays over it, None for an empty cell."""
    if cell.absent:
        return None
    if cell.heat is not None:
        return draw_heat(frame, cell.heat)
    return frame if cell.mask is None else draw_masks(frame, cell.mask, names, colours, alpha)


def contact_sheet(
    rows: Sequence[SheetRow],
    titles: Sequence[str],
    *,
    title: str = "",
    legend: Sequence[tuple[str, Sequence[int]]] = (),
    cell_width: int = CELL_WIDTH,
    max_width: int = 2200,
    rows_per_block: int = 10,
) -> list[np.ndarray]:
    """Lay rows out on pages: below each other in blocks, and as many blocks beside each other as fit.

    Args:
        rows: In order; all with one picture per title.
        titles: The columns' headings.
        title: The page's heading.
        legend: (name, colour) of the classes that appear, printed at the foot.
        cell_width: Width of a picture in pixels; all cells take the shape of the first picture.
        max_width: Width in pixels that a page may have; one block is always placed.
        rows_per_block: Rows below each other before the next block starts.
    Returns: Pages as (H, W, 3) uint8.
    Raises: ValueError: If there are no rows, no pictures, or a row has another number of pictures.
    """
    layout = _Layout.plan(rows, titles, cell_width, max_width, rows_per_block)
    per_page = layout.blocks * rows_per_block
    count = math.ceil(len(rows) / per_page)
    pages = []
    for number in range(count):
        heading = f"{title}  ({number + 1} of {count})" if count > 1 else title
        part = rows[number * per_page : (number + 1) * per_page]
        pages.append(_page(part, titles, heading, legend, layout))
    return pages


def save_sheet(pages: Sequence[np.ndarray], path: str | Path) -> list[Path]:
    """Write pages as `<path>`, `<stem>-2.png`, …, each complete or not at all; returns the paths."""
    path, written = Path(path), []
    for number, page in enumerate(pages, start=1):
        target = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        part = target.with_name(target.name + ".part")
        try:
            Image.fromarray(checked_rgb(page)).save(part, "PNG", optimize=False)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
        written.append(target)
    return written


def class_legend(
    masks: Sequence[np.ndarray], names: Sequence[str], colours: np.ndarray
) -> list[tuple[str, tuple[int, ...]]]:
    """List (name, drawn colour) of the foreground classes in any of the masks, in index order."""
    present = sorted({int(index) for mask in masks for index in np.unique(mask)} - {0})
    return [(names[index].replace("_", " "), tuple(int(c) for c in vivid(colours[index]))) for index in present]


@dataclass(frozen=True)
class _Layout:
    cell: tuple[int, int]
    columns: int
    blocks: int
    block_rows: int

    @classmethod
    def plan(cls, rows, titles, cell_width: int, max_width: int, rows_per_block: int) -> _Layout:
        if not rows or not titles or cell_width < 16 or rows_per_block < 1:
            raise ValueError("a sheet needs rows, titles, cells of at least 16 pixels and rows per block above 0")
        wrong = [row for row in rows if len(row.pictures) != len(titles)]
        if wrong:
            raise ValueError(f"row {wrong[0].time} has {len(wrong[0].pictures)} pictures for {len(titles)} titles")
        shapes = [picture.shape for row in rows for picture in row.pictures if picture is not None]
        if not shapes:
            raise ValueError("a sheet needs at least one picture")
        cell = _cell_size(shapes[0][0], shapes[0][1], cell_width)
        width = _TIME_WIDTH + len(titles) * (cell[0] + _GAP) + 2 * _MARGIN
        blocks = min(max(1, (max_width - _MARGIN) // (width - _MARGIN)), math.ceil(len(rows) / rows_per_block))
        return cls(cell, len(titles), blocks, min(rows_per_block, len(rows)))

    @property
    def block_width(self) -> int:
        return _TIME_WIDTH + self.columns * (self.cell[0] + _GAP)


def _page(rows, titles, heading: str, legend, layout: _Layout) -> np.ndarray:
    width = layout.blocks * (layout.block_width + _MARGIN) + _MARGIN
    top = _MARGIN + (40 if heading else 0)
    body = 26 + min(len(rows), layout.block_rows) * (layout.cell[1] + _GAP)
    entries, legend_height = _legend_places(legend, width)
    image = Image.new("RGB", (width, top + body + legend_height + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(image)
    if heading:
        draw.text((_MARGIN, _MARGIN), _shortened(draw, heading, width - 2 * _MARGIN, 24), _INK, font=load_font(24))
    for start in range(0, len(rows), layout.block_rows):
        x = _MARGIN + start // layout.block_rows * (layout.block_width + _MARGIN)
        _block(image, draw, rows[start : start + layout.block_rows], titles, x, top, layout)
    for name, colour, x, y in entries:
        y += top + body + 8
        draw.rounded_rectangle((x, y + 2, x + 14, y + 16), radius=3, fill=colour, outline=_FAINT)
        draw.text((x + 21, y), name, _INK, font=load_font(15))
    return np.asarray(image)


def _block(image, draw, rows, titles, x: int, y: int, layout: _Layout) -> None:
    width, height = layout.cell
    for column, title in enumerate(titles):
        left = x + _TIME_WIDTH + column * (width + _GAP)
        heading = shortened(title, lambda text: load_font(15).getlength(text) <= width)
        draw.text((left, y), heading, _INK, font=load_font(15))
    y += 26
    for row in rows:
        time = row.time if isinstance(row.time, str) else _clock(row.time)
        draw.text((x, y), time, _INK, font=load_font(15))
        for line, word in enumerate(row.note.split("\n") if row.note else []):
            draw.text(
                (x, y + 20 + 14 * line),
                _shortened(draw, word, _TIME_WIDTH - 4, 12),
                _FAINT,
                font=load_font(12),
            )
        for column, picture in enumerate(row.pictures):
            left = x + _TIME_WIDTH + column * (width + _GAP)
            if picture is None:
                draw.rectangle((left, y, left + width - 1, y + height - 1), fill=_EMPTY)
                draw.text((left + width / 2, y + height / 2), "none", _FAINT, font=load_font(14), anchor="mm")
            else:
                image.paste(_fitted(picture, width, height), (left, y))
        y += height + _GAP


def _cell_size(height: int, width: int, cell_width: int) -> tuple[int, int]:
    """Width and height of a picture's cell; upright ones get narrower cells instead of pages without end."""
    scale = min(cell_width / width, 1.4 * cell_width / height)
    return max(16, round(width * scale)), max(16, round(height * scale))


def _fitted(picture: np.ndarray, width: int, height: int) -> Image.Image:
    """Shrink or enlarge a picture into a cell, its shape kept, on grey."""
    source = Image.fromarray(checked_rgb(picture))
    scale = min(width / source.width, height / source.height)
    size = (
        min(width, max(1, round(source.width * scale))),
        min(height, max(1, round(source.height * scale))),
    )
    resized = source.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
    if size == (width, height):
        return resized
    cell = Image.new("RGB", (width, height), _EMPTY)
    cell.paste(resized, ((width - size[0]) // 2, (height - size[1]) // 2))
    return cell


def _legend_places(legend, width: int) -> tuple[list, int]:
    """Place legend entries in lines: (name, colour, x, y) with y from the legend's top, and the height."""
    font, x, y = load_font(15), _MARGIN, 0
    places: list[tuple[str, tuple[int, ...], int, int]] = []
    for name, colour in legend:
        step = 21 + round(font.getlength(name)) + 24
        if places and x + step > width - _MARGIN:
            x, y = _MARGIN, y + 24
        places.append((name, tuple(int(c) for c in colour), x, y))
        x += step
    return places, (y + 34 if places else 0)


def _shortened(draw, text: str, width: int, size: int) -> str:
    font = load_font(size)
    while len(text) > 1 and draw.textlength(text, font=font) > width:
        text = text[:-2].rstrip() + "…"
    return text


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}" if seconds % 1 else f"{int(minutes)}:{int(rest):02d}"
