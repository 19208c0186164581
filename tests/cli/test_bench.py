"""`avsctl bench` as one types it."""

from __future__ import annotations

from avsctl.bench.items import ITEMS


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
