"""`avsctl evaluate` as one types it."""

from __future__ import annotations

import json
import os

import pytest
import torch

from avsctl.training.devices import predicting_by_device, reading_by_device


@pytest.fixture
def avsctl(typed, monkeypatch, two_stage_workspace):
    """Run a command on the two-stage workspace; gives exit code, stdout and stderr."""
    monkeypatch.setenv("AVSCTL_WORKSPACE", str(two_stage_workspace))
    return typed


def test_all_priors_are_shown_in_one_table_with_the_gap(avsctl, tmp_path):
    code, out, err = avsctl(
        "evaluate", "--split", "test", "--subset", "s4", "--prior", "all", "--device", "cpu", "--out", tmp_path
    )
    assert code == 0, err
    rows = [line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│")]
    assert rows == ["oracle", "predicted", "empty", "single stage"]
    assert "gap to oracle" in out
    assert "(percent)" in out
    assert "single stage: aavs-tiny-all-none-s3407" in out
    assert "avss run:" in err and "predicted.h5" in err
    assert len(list((tmp_path / "test").glob("*.json"))) == 4


def test_json_is_all_that_stdout_gets(avsctl, tmp_path):
    code, out, _ = avsctl("evaluate", "--task", "avs", "--subset", "s4", "--json", "--device", "cpu", "--out", tmp_path)
    assert code == 0
    content = json.loads(out)
    [report] = content["reports"]
    assert content["comparison"] is None
    assert report["scores"]["all"]["clips"] == 2
    assert report["path"] == str(next((tmp_path / "test").glob("*.json")))


def test_one_run_gives_a_table_of_subsets(avsctl, tmp_path):
    code, out, _ = avsctl("evaluate", "--task", "avs", "--device", "cpu", "--out", tmp_path)
    assert code == 0
    assert [line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│")] == [
        "ms3",
        "s4",
        "v2",
        "all",
    ]


def test_explain_names_every_score_without_a_workspace(avsctl, monkeypatch, tmp_path):
    monkeypatch.setenv("AVSCTL_WORKSPACE", str(tmp_path))
    code, out, _ = avsctl("evaluate", "--explain")
    assert code == 0
    assert "f_score_stepping_stones" in out and "miou_foreground" in out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--prior", "high"], "avsctl predict-priors --level high"),
        (["--run", "nowhere"], "aavs-tiny-all-oracle-s3407"),
        (["--audio", "shift:abc"], "shift takes seconds"),
        (["--audio", "echo"], "other-clip"),
        (["--subset", "s5"], "s4/test"),
        (["--device", "gpu7"], "--device cpu"),
    ],
)
def test_a_bad_request_is_one_line_and_exit_code_2(avsctl, tmp_path, words, named):
    code, out, err = avsctl("evaluate", *words, "--out", tmp_path / "out")
    assert code == 2
    assert out == ""
    [line] = [line for line in err.splitlines() if line.startswith("error:")]
    assert named in line
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("threads", "given", "expected"), [(1, {}, 2), (2, {}, 0), (2, {"workers": 1}, 2), (2, {"prefetch": 3}, 3)]
)
def test_nothing_is_read_ahead_by_default_where_the_network_has_all_cores(monkeypatch, threads, given, expected):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    for by_device in (reading_by_device, predicting_by_device):
        assert by_device("cpu", **given)["prefetch"] == expected
