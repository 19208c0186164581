"""Damage to tables, JSON and files of options that still are readable as such."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Rng = np.random.Generator
NAMES = (
    "..",
    "../../etc",
    "/etc/passwd",
    "a/b",
    "C:\\x",
    "..\\..\\x",
    "a\0b",
    "\x1b[31mred\x1b[0m",
    "",
    " ",
    "x" * 300,
    "x" * 140_000,
    "-rf",
    "$(touch owned)",
    "; touch owned",
    "ünïcödé 名前 🎻",
    "a b",
    "\u202eabc",
    "\ud800",
    "nul",
    "[bold]x[/]",
    "%s{0}",
    "²",
    "٣",
    "1e999",
    "-1",
    "0",
    "9" * 400,
    "9" * 5000,
    "NaN",
    "test",
    "all",
    "None",
)
VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1,
    0.5,
    10**9,
    2**63,
    10**400,
    1e308,
    math.nan,
    math.inf,
    -math.inf,
    "",
    [],
    {},
    [[]],
    {"a": {"b": []}},
    [1, 2, 3],
    *NAMES,
)


def cells(rng: Rng, path: Path) -> None:
    """Cells of a table hold what no one expects there."""
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    for _ in range(int(rng.integers(1, 4))):
        row = rows[int(rng.integers(len(rows)))]
        row[int(rng.integers(len(row)))] = NAMES[int(rng.integers(len(NAMES)))]
    _write_table(path, rows)


def rows(rng: Rng, path: Path) -> None:
    """Rows come twice, or short, or long, or there is none, or very many."""
    table = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    kind, number = int(rng.integers(6)), int(rng.integers(1, len(table)))
    if kind == 0:
        table.append(table[number])
    elif kind == 1:
        table[number] = table[number][: int(rng.integers(0, 3))]
    elif kind == 2:
        table[number] += ["more"] * 5
    elif kind == 3:
        table = table[:1]
    elif kind == 4:
        table = [row[::-1] for row in table]
    else:
        table[0][int(rng.integers(len(table[0])))] = table[0][0]
    _write_table(path, table)


def raw_text(rng: Rng, path: Path) -> None:
    """Quotes left open, other encodings, bytes of zero, old line ends."""
    data = path.read_bytes()
    kind = int(rng.integers(6))
    if kind == 0:
        data = data.replace(b",", b',"', 1)
    elif kind == 1:
        data = data.decode().encode("utf-16")
    elif kind == 2:
        data = data.replace(b"\n", b"\r")
    elif kind == 3:
        data = data.replace(b"a", b"\0", 1)
    elif kind == 4:
        data = b"\xef\xbb\xbf" + data
    else:
        data = data.replace(b"i", b"\xff", 1)
    path.write_bytes(data)


def _write_table(path: Path, table: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    path.write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))


def nodes(rng: Rng, path: Path) -> None:
    """Values anywhere in a JSON become others, are left out, or get another name."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for _ in range(int(rng.integers(1, 3))):
        content = mutated(rng, content)
    path.write_text(json.dumps(content), encoding="utf-8")


def mutated(rng: Rng, content: Any) -> Any:
    """A JSON value with one place in it changed."""
    places = list(_places(content))
    if not places or rng.random() < 0.05:
        return VALUES[int(rng.integers(len(VALUES)))]
    holder, key = places[int(rng.integers(len(places)))]
    kind = rng.random()
    if kind < 0.15:
        del holder[key]
    elif kind < 0.25 and isinstance(holder, dict):
        holder[NAMES[int(rng.integers(len(NAMES)))]] = holder.pop(key)
    else:
        holder[key] = VALUES[int(rng.integers(len(VALUES)))]
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(content, dict):
        items: Any = list(content.items())
    elif isinstance(content, list):
        items = list(enumerate(content))
    else:
        return
    for key, value in items:
        yield content, key
        yield from _places(value)


def json_forms(rng: Rng, path: Path) -> None:
    """Nested too deep, names twice, numbers too long, not a table at all."""
    forms = (
        "[" * 100_000,
        '{"a":' * 50_000 + "1" + "}" * 50_000,
        "[" * 900 + "]" * 900,
        "9" * 5000,
        "-" + "9" * 5000,
        "NaN",
        '{"a": 1, "a": 2}',
        "[]",
        '"text"',
        "null",
        "1e999",
        "{}",
        "[1, 2",
        '{"a": Infinity}',
        "true",
        '["\\ud800", "b"]',
    )
    path.write_text(forms[int(rng.integers(len(forms)))])


def toml_forms(rng: Rng, path: Path) -> None:
    """Values that only TOML has, or nesting too deep."""
    text = path.read_text()
    forms = (
        "lr = nan",
        "lr = inf",
        "seed = 1979-05-27",
        "epochs = 07:32:00",
        "without = [[" * 3000,
        "[lr]\na = 1",
        "a.b.c = 1",
        "preset = " + "[" * 5000,
        'subset = "\\u0000"',
        "x" * 5 + "=" * 3,
        "epochs = 0x7fffffffffffffffffff",
        "lr = -0.0",
        "[[epochs]]\n",
        'device = "cuda:99"',
        "batch_clips = 1.5",
        "shuffle = 1",
        'init_from = "/etc/passwd"',
        'backbone = "local-dir:/etc"',
        "epochs = true",
        'preset = ""',
        'without = "masked-attention"',
        "without = [1, 2]",
    )
    form = forms[int(rng.integers(len(forms)))]
    name = form.split(" ")[0]
    kept = [line for line in text.splitlines() if not line.startswith(f"{name} =")]
    path.write_text("\n".join([*kept, form]) + "\n")


CSV = (cells, cells, cells, rows, raw_text)
JSON = (nodes, nodes, nodes, nodes, json_forms, raw_text)
OPTIONS = (nodes, nodes, nodes, json_forms)
TOML = (toml_forms, toml_forms, toml_forms, raw_text)
