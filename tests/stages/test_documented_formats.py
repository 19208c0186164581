"""The tables of docs/data.md list exactly what the files hold."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import h5py
import pytest

from avsctl.stages.cache_frames import cache_frames
from avsctl.stages.evaluate import evaluate
from avsctl.stages.evaluation_plan import EvaluateConfig
from avsctl.workspace import Workspace

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
HEADER = "What all caches have"


def _section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert found, f"data.md has no section {title}"
    return found[1]


def _first_cells(title: str, after: str = "") -> list[str]:
    """The first column of a section's first table (behind `after`)."""
    rows = []
    text = _section(title)
    for line in text[text.index(after) :].splitlines():
        if line.startswith("|"):
            rows.append(line.split("|")[1])
        elif rows:
            break
    return rows[2:]


def _names(cells: list[str]) -> set[str]:
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def _held(path: Path) -> tuple[set[str], set[str]]:
    """Datasets and attributes of an HDF5 file."""
    datasets: set[str] = set()
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: datasets.add(name) if isinstance(item, h5py.Dataset) else None)
        return datasets, set(file.attrs)


@pytest.fixture(scope="module")
def reports(two_stage_workspace, tmp_path_factory) -> dict[str, Path]:
    """Reports of both tasks, by task."""
    out = tmp_path_factory.mktemp("reports")
    workspace = Workspace(two_stage_workspace)
    return {
        task: evaluate(workspace, EvaluateConfig(split="test", task=task, out=out, device="cpu"))[0].path
        for task in ("avs", "avss")
    }


@pytest.mark.parametrize(
    ("section", "file"), [("clips.h5", "clips.h5"), ("audio.h5", "audio.h5"), ("priors/*.h5", "priors/predicted.h5")]
)
def test_a_cache_holds_what_its_table_lists(section, file, two_stage_workspace, tmp_path):
    cells = _first_cells(section)
    listed = _names([cell for cell in cells if not cell.strip().startswith("attributes")])
    attributes = _names([cell for cell in cells if cell.strip().startswith("attributes")])
    path = shutil.copy(two_stage_workspace / file, tmp_path / "cache.h5")
    if section == "clips.h5":
        cache_frames(path, 32, workers=0)
    datasets, held = _held(path)
    assert datasets == listed - {"log_mel/data"}  # only AVSBench-object has it
    assert held == attributes | _names(_first_cells(HEADER))


def test_a_record_has_the_keys_of_its_table(two_stage_workspace):
    for run in Workspace(two_stage_workspace).runs():
        assert set(run.record) == _names(_first_cells("A run", after="`record.json`:"))
        files = {path.name for path in run.folder.iterdir()}
        assert files == _names(_first_cells("A run")) - {"start.json"}  # only with --init-from


def test_a_report_has_the_keys_of_its_table(reports):
    listed = _names(_first_cells("reports/")) - {"label"}
    binary, semantic = (set(json.loads(reports[task].read_text())) for task in ("avs", "avss"))
    assert binary == listed - {"per_class"}
    assert semantic == listed - {"binary_labels"}


def test_the_tables_beside_a_report_have_the_listed_columns(reports):
    for line in (line for line in _section("reports/").splitlines() if line.startswith("| `<name>")):
        name, columns = line.split("|")[1:3]
        ending = re.search(r"`<name>(\S+)`", name)[1]
        with reports["avss"].with_suffix(ending).open(encoding="utf-8", newline="") as file:
            header = next(csv.reader(file))
        assert [
            column for column in re.findall(r"`(\w+)`", columns) if column != "class" or "index" in header
        ] == header
