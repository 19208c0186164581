"""`avsctl bench` as one types it."""

from __future__ import annotations

import json

import numpy as np

from avsctl.bench import label_decoding
from avsctl.bench.items import ITEMS

KEYS = {"name", "ours_s", "peer_s", "ratio", "target", "unit", "ours_peak_bytes", "peer_peak_bytes"}


def test_list_explains_every_item(typed):
    code, out, _ = typed("bench", "--list")
    assert code == 0
    for item in ITEMS:
        assert item.name in out


def test_an_unknown_item_is_wrong_use(typed):
    code, _, err = typed("bench", "--only", "no-such")
    assert code == 2 and err.startswith("error:") and len(err.strip().splitlines()) == 1
    assert "no item no-such; there are: training-step-paper" in err


def test_without_transformers_its_items_are_refused_in_one_line(typed, monkeypatch):
    monkeypatch.setattr("avsctl.bench.run.transformers_version", lambda: None)
    code, _, err = typed("bench", "--quick", "--only", "training-step-tiny")
    assert code == 2 and len(err.strip().splitlines()) == 1
    assert "pip install 'avsctl[bench]'" in err


def test_cheap_items_run_and_write_json(typed, tmp_path):
    words = ("--only", "label-decoding", "--only", "metrics", "--quick", "--threads", 1)
    code, out, err = typed("bench", *words, "--json", tmp_path / "b.json")
    assert code == 0, err
    report = json.loads((tmp_path / "b.json").read_text())
    assert report["quick"] is True and report["machine"]["matmul_fp32_flops"] > 1e8
    assert [item["name"] for item in report["items"]] == ["label-decoding", "metrics"]
    for item in report["items"]:
        assert item.keys() >= KEYS and item["name"] in out
        assert item["ratio"] == item["peer_s"] / item["ours_s"] and item["ours_peak_bytes"] > 10**7
    assert report["failed"] == report["skipped"] == []


def test_different_work_fails_and_the_other_items_go_on(typed, tmp_path, monkeypatch):
    monkeypatch.setattr(label_decoding, "by_comparison", lambda picture: np.zeros(label_decoding.SIZE))
    code, _, err = typed("bench", "--only", "label-decoding", "--quick", "--json", tmp_path / "b.json")
    assert code == 1 and "error: label-decoding: the two sides differ in class indices" in err
    assert "Traceback" not in err
    assert json.loads((tmp_path / "b.json").read_text())["failed"][0]["name"] == "label-decoding"


def test_without_transformers_the_other_items_run(typed, monkeypatch):
    monkeypatch.setattr("avsctl.bench.run.transformers_version", lambda: None)
    monkeypatch.setattr("avsctl.bench.run._run", lambda item, report: None)
    code, _, err = typed("bench", "--quick")
    assert code == 0 and "pip install 'avsctl[bench]'; left out: training-step-paper, training-step-tiny" in err
