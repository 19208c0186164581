"""`avsctl evaluate --predictions` as one types it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avsctl.caches.clips import SUBSETS, ClipCache
from avsctl.data.labels import read_label
from avsctl.metrics import MEANINGS


@pytest.fixture
def workspace(tiny_workspace, tmp_path, monkeypatch):
    """A workspace with clips.h5 only, and a copy of the test labels as masks."""
    root = tmp_path / "ws"
    (root / "masks").mkdir(parents=True)
    shutil.copy(tiny_workspace / "clips.h5", root)
    clips = ClipCache(root / "clips.h5")
    for clip in clips.select(split="test"):
        folder = root / "masks" / SUBSETS[clips.subsets[clip]] / clips.uids[clip]
        folder.mkdir(parents=True)
        for frame, data in enumerate(clips.label_bytes(clip)):
            Image.fromarray(np.asarray(read_label(data))).save(folder / f"{frame}.png")
    monkeypatch.setenv("AVSCTL_WORKSPACE", str(root))
    monkeypatch.setenv("COLUMNS", "200")
    return root


@pytest.fixture
def avsctl(typed, workspace):
    """Run a command; gives exit code, stdout and stderr."""
    return typed


def test_masks_are_scored_without_sound_and_runs(avsctl, workspace):
    code, out, err = avsctl("evaluate", "--predictions", workspace / "masks", "--size", "label")
    assert code == 0, err
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert [row[0] for row in rows] == ["ms3", "s4", "v2", "all"]
    assert {row[-2] for row in rows} == {"100.00"}  # IoU of the sounding pixels
    assert "at label size" in out
    assert "read for the task avss" in err
    assert {path.suffix for path in (workspace / "reports" / "test").iterdir()} == {".csv", ".json"}


@pytest.mark.parametrize(("task", "kind"), [("avs", "binary"), ("avss", "semantic")])
def test_json_names_every_score(avsctl, workspace, task, kind):
    masks = workspace / "masks"
    code, out, err = avsctl("evaluate", "--predictions", masks, "--task", task, "--subset", "s4", "--json")
    assert code == 0, err
    [report] = json.loads(out)["reports"]
    # Stepping Stones' F needs two maps of a model; a mask has one.
    assert set(report["scores"]["all"]) == set(MEANINGS[kind]) - {"f_score_stepping_stones"}
    assert report["label_size"] == 224
    assert report["predictions"]["folder"] == str(masks)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--predictions", "nowhere"], "nowhere"),
        (["--predictions", "masks", "--run", "x"], "--run is for runs"),
        (["--predictions", "masks", "--prior", "oracle"], "--prior is for runs"),
        (["--predictions", "masks", "--audio", "original"], "--audio is for runs"),
        (["--predictions", "masks", "--prior-form", "soft"], "--prior-form is for runs"),
        (["--predictions", "masks", "--split", "train"], "is missing"),
        (["--size", "512"], "--predictions DIR"),
        (["--size", "384"], "'label', '224', '512'"),
    ],
)
def test_a_bad_request_is_one_line_and_writes_nothing(avsctl, workspace, monkeypatch, words, named):
    monkeypatch.chdir(workspace)
    code, out, err = avsctl("evaluate", *words)
    assert code == 2
    assert out == ""
    [line] = [line for line in err.splitlines() if line.startswith("error:")]
    assert named in line
    assert "Traceback" not in err
    assert not (workspace / "reports").exists()


def test_the_page_of_scores_knows_all_of_them():
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z0-9]+_[a-z0-9_]+|miou)`", page))
    known = set(MEANINGS["binary"]) | set(MEANINGS["semantic"])
    assert named <= known
    assert {name for name in known - named if not name.startswith("avs_")} == {"clips", "frames"}
