"""`avsctl status` as one types it, in workspaces of every condition."""

from __future__ import annotations

import json
import shutil
import signal
import sys

import pytest

from avsctl.caches.files import read_json, write_json
from avsctl.cli import cli
from avsctl.cli._console import run_guarded


@pytest.fixture
def status(monkeypatch, capfd):
    """Run `avsctl status` on a folder; gives stdout, or with `as_json` its content."""
    monkeypatch.setenv("COLUMNS", "200")
    terminate = signal.getsignal(signal.SIGTERM)

    def run(root, as_json=False):
        words = ["avsctl", "status", "--workspace", str(root), *(["--json"] if as_json else [])]
        monkeypatch.setattr(sys, "argv", words)
        code = run_guarded(cli)
        captured = capfd.readouterr()
        assert code == 0, captured.err
        assert "Traceback" not in captured.err
        return json.loads(captured.out) if as_json else captured.out

    yield run
    signal.signal(signal.SIGTERM, terminate)


def _first(content):
    return content["next"][0].split(" --workspace")[0]


def test_an_empty_or_missing_folder_says_how_to_begin(status, tmp_path):
    for root in (tmp_path, tmp_path / "missing"):
        out = status(root)
        assert "avsctl prepare avsbench --workspace" in out
        assert "avsctl prepare synthetic --workspace" in out
    assert not (tmp_path / "missing").exists()


def test_the_commands_need_no_place_in_the_workspace_itself(status, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert status(".", as_json=True)["next"] == ["avsctl prepare avsbench", "avsctl prepare synthetic"]


def test_it_shows_caches_runs_and_priors(status, two_stage_workspace):
    out = status(two_stage_workspace)
    for text in ("18 with 120 frames", "71 classes", "s4: test 2, train 2, val 2", "logmel, 128 numbers"):
        assert text in out
    assert "prior predicted: predicted" in out and "s4 25.00" in out
    assert "aavs-tiny-all-oracle-s3407" in out and "complete" in out
    content = status(two_stage_workspace, as_json=True)
    assert content["bytes"] > content["clips"]["bytes"] > 0
    assert len(content["runs"]) == 3


def test_next_is_the_first_missing_step(status, two_stage_workspace, workspace_copy):
    root = workspace_copy(two_stage_workspace)
    assert _first(status(root, as_json=True)) == "avsctl evaluate --split test"
    for path, command in (
        (root / "runs/avss", "avsctl train-avss"),
        (root / "priors", "avsctl predict-priors"),
        (root / "runs/avs", "avsctl train-avs"),
    ):
        shutil.rmtree(path)
        assert _first(status(root, as_json=True)) == command
    (root / "audio.h5").unlink()
    assert _first(status(root, as_json=True)) == "avsctl extract-audio"


def test_an_unfinished_run_is_to_be_continued(status, tiny_workspace, workspace_copy):
    root = workspace_copy(tiny_workspace)
    record = root / "runs/avs/aavs-tiny-all-none-s3407/record.json"
    write_json(record, {**read_json(record), "complete": False})
    content = status(root, as_json=True)
    assert content["next"][0].startswith("avsctl train-avs --config")
    assert "--resume" in content["next"][0]
    assert "unfinished" in status(root)


def test_scores_of_reports_are_shown_and_then_visualize_is_next(status, two_stage_workspace, workspace_copy):
    root = workspace_copy(two_stage_workspace)
    for task in ("avs", "avss"):
        scores = {"miou": 0.1234, "f_score": 0.5, "miou_foreground": 0.25, "avs_miou": 0.75}
        runs = [{"name": path.name} for path in (root / "runs" / task).iterdir()]
        content = {"task": task, "subset": "all", "runs": runs, "prior": None, "audio": {"change": "original"}}
        write_json(root / f"reports/test/{task}.json", {**content, "scores": {"all": scores}})
    out = status(root)
    assert "12.34" in out and "75.00" in out
    assert _first(status(root, as_json=True)) == "avsctl visualize video.mp4"


def test_damage_is_a_finding_and_no_error(status, two_stage_workspace, workspace_copy):
    root = workspace_copy(two_stage_workspace)
    for name in ("audio.h5", "priors/predicted.h5"):
        (root / name).write_bytes((root / name).read_bytes()[:2000])
    (root / "runs/avs/aavs-tiny-all-none-s3407/record.json").write_text("{")
    (root / "runs/avss/aavs-tiny-all-none-s3407/record.json").write_text("{}")
    (root / "reports/test").mkdir(parents=True)
    (root / "reports/test/a.json").write_text("[1]")
    content = status(root, as_json=True)
    assert "audio.h5" in content["audio"]["problem"]
    assert "predicted.h5" in content["priors"][0]["problem"]
    assert sum("problem" in run for run in content["runs"]) == 2
    assert "problem" in content["reports"][0]
    assert _first(content) == "avsctl extract-audio --overwrite"
    assert status(root).count("readable") >= 3


def test_clips_cut_short_anywhere_are_a_finding(status, tiny_workspace, workspace_copy):
    root = workspace_copy(tiny_workspace)
    whole = (root / "clips.h5").read_bytes()
    for length in (0, 100, 5000, len(whole) // 2, len(whole) - 1):
        (root / "clips.h5").write_bytes(whole[:length])
        content = status(root, as_json=True)
        assert "clips.h5" in content["clips"]["problem"]
        assert _first(content) == "avsctl prepare avsbench --overwrite"
        assert content["audio"]["fits"] is None


def test_a_cache_of_other_clips_is_said_to_be_so(status, two_stage_workspace, workspace_copy):
    import h5py

    root = workspace_copy(two_stage_workspace)
    with h5py.File(root / "clips.h5", "r+") as file:
        file.attrs["fingerprint"] = b"0123456789abcdef"
    out = status(root)
    assert out.count("made from other clips") == 2
    assert _first(status(root, as_json=True)) == "avsctl extract-audio --overwrite"
