"""Contact sheets written page by page, so that an hour of video needs no more memory than a minute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avsctl.rendering.sheet import SheetRow, class_legend, contact_sheet, save_sheet

_ROWS = 20  # two blocks of ten, which fit beside each other on a page


class SheetPages:
    """Writes `<name>.png`, `<name>-2.png`, … as rows come in.

    Args:
        folder: where; names, colours: of the classes.
        titles: the columns' headings.
        title: the pages' heading.
    """

    def __init__(
        self, folder: Path, name: str, titles: Sequence[str], names: Sequence[str], colours: np.ndarray, title: str
    ):
        self._folder, self._name, self._titles, self._title = folder, name, titles, title
        self._names, self._colours = names, colours
        self._rows: list[SheetRow] = []
        self._masks: list[np.ndarray] = []
        self.files: list[str] = []

    def add(self, row: SheetRow, masks: Sequence[np.ndarray]) -> None:
        """Append a row whose pictures show `masks` ((h, w) class indices)."""
        self._rows.append(row)
        self._masks.extend(masks)
        if len(self._rows) == _ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the page begun."""
        if not self._rows:
            return
        number = len(self.files) + 1
        pages = contact_sheet(
            self._rows,
            self._titles,
            title=self._title if number == 1 else f"{self._title} ({number})",
            legend=class_legend(self._masks, self._names, self._colours),
        )
        file = f"{self._name}.png" if number == 1 else f"{self._name}-{number}.png"
        save_sheet(pages, self._folder / file)
        self.files.append(file)
        self._rows, self._masks = [], []
