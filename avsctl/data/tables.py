"""The csv and json files that list a dataset, read with the line of every mistake."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from avsctl.caches.clips import SPLITS
from avsctl.caches.files import read_json, read_regular
from avsctl.caches.names import plain_name
from avsctl.data.entries import Entry
from avsctl.errors import AvsctlError
from avsctl.limits import MAX_TEXT


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, row) of a csv file with a header.

    Raises: AvsctlError: If it is missing, not UTF-8 csv, empty, or lacks one of `columns`.
    """
    try:
        text = read_regular(path, MAX_TEXT).decode("utf-8-sig")
    except FileNotFoundError:
        raise AvsctlError(f"{path} does not exist. Give the folder that holds it.") from None
    except UnicodeDecodeError as error:
        raise AvsctlError(f"{path} is not a UTF-8 csv file ({error.reason}). Restore it.") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    empty = True
    try:
        missing = [name for name in columns if name not in (reader.fieldnames or [])]
        if missing:
            raise AvsctlError(
                f"{path} lacks the column {', '.join(missing)} in line 1; it needs {', '.join(columns)}. Restore it."
            )
        for row in reader:
            empty = False
            yield reader.line_num, row
    except csv.Error as error:
        raise AvsctlError(f"{path}, line {reader.line_num}: not readable as csv ({error}). Restore the file.") from None
    if empty:
        raise AvsctlError(f"{path} lists no clips. Restore the file.")


def row_problem(row: Mapping[str, str | None], names: Iterable[str], filled: Iterable[str] = ()) -> str:
    """What is wrong in a csv row, or an empty string.

    Args:
        names: columns that become folder names.
        filled: columns that need a value.
    """
    for column in (*names, *filled):
        if not row.get(column):
            return f"no {column}"
    for column in names:
        if not plain_name(row[column]):
            return f"{column} {shortened(row[column])} is no plain name and could lead out of the dataset's folder"
    for column in filled:
        if not str(row[column]).isprintable():
            return f"{column} {shortened(row[column])} holds characters that can't be printed"
    if row.get("split") not in SPLITS:
        return f"split {shortened(row.get('split'))} is none of {', '.join(SPLITS)}"
    return ""


def whole_number(text: str | None) -> int | None:
    """The number that a cell holds in digits, None if it holds none, or one of 2^31 and more."""
    text = (text or "").strip()
    good = text.isascii() and text.isdigit() and len(text) <= 10
    return int(text) if good and int(text) < 2**31 else None


def shortened(value: object) -> str:
    """What a cell holds, in quotes, as a message may hold it."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:70]}… ({len(text):,} characters)"


def duplicates(path: Path, entries: Sequence[Entry]) -> list[str]:
    """A line for every uid that was there before."""
    seen: dict[str, int] = {}
    found = []
    for place, entry in enumerate(entries):
        first = entries[seen.setdefault(entry.uid, place)]
        if first.line != entry.line:
            splits = "" if first.split == entry.split else f" in another split ({first.split}, here {entry.split})"
            found.append(f"{path}, line {entry.line}: uid {entry.uid} stands in line {first.line} already{splits}")
    return found


def read_label2idx(path: Path) -> list[str]:
    """Class names in index order from `label2idx.json`, whose values count from 1.

    Raises: AvsctlError: If it is not a mapping of names to 1..n.
    """
    if not path.exists():
        raise _missing(path)
    content = read_json(path)
    values = sorted(content.values()) if isinstance(content, dict) and _whole(content.values()) else None
    printable = isinstance(content, dict) and all(name and name.isprintable() for name in content)
    if not values or not printable or len(values) > 255 or values != list(range(1, len(values) + 1)):
        raise AvsctlError(f"{path} must map each class name to its number, 1 to n with 1 the background. Restore it.")
    return sorted(content, key=lambda name: content[name])


def _whole(values: Iterable[object]) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def _missing(path: Path) -> AvsctlError:
    return AvsctlError(f"{path} does not exist. Restore it from the dataset's archive.")
