"""`avsctl report` as one types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def avsctl(typed, monkeypatch, two_stage_workspace, tmp_path):
    """Run a command on the two-stage workspace, with its page in the test's own folder."""
    monkeypatch.setenv("AVSCTL_WORKSPACE", str(two_stage_workspace))
    monkeypatch.chdir(tmp_path)
    return typed


def test_it_says_what_is_missing_and_where_the_page_is(avsctl):
    code, out, err = avsctl("report", "--out", "page.html", "--subset", "s4", "--clips", "1", "--device", "cpu")
    assert code == 0, err
    lines = out.splitlines()
    assert any(line.startswith("missing: Scores of ") and "avsctl evaluate --split test" in line for line in lines)
    assert "page.html" in lines
    assert lines[-1].startswith("1 of 2 clips, page ")
    assert Path("page.html").exists()
    code, out, _ = avsctl("report", "--out", "page.html", "--subset", "s4", "--clips", "1", "--device", "cpu")
    assert code == 0 and "up to date" in out


def test_json_is_for_machines(avsctl):
    code, out, err = avsctl("report", "--out", "page.html", "--clips", "0", "--json")
    assert code == 0, err
    content = json.loads(out)
    assert content["page"] == "page.html" and content["fresh"] is True
    assert (content["clips"], content["of"]) == (0, 6)
    assert content["missing"][0]["command"].startswith("avsctl evaluate")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--clips", "some"], "neither a number"),
        (["--clips", "-1"], "neither a number"),
        (["--run", "nothing"], "No run named nothing"),
        (["--run", "aavs-tiny-all-none-s3407"], "several runs named"),
        (["--prior", "low"], "avsctl predict-priors --level low"),
        (["--out", "."], "is a folder"),
        (["--workspace", "elsewhere"], "avsctl prepare"),
    ],
)
def test_wrong_use_is_one_clear_error_and_leaves_nothing(avsctl, tmp_path, words, says):
    code, out, err = avsctl("report", "--out", "page.html", *words)
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
