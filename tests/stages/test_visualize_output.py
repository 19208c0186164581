"""Results of `visualize` appear together, also when the command is killed while they do."""

from __future__ import annotations

import os

import pytest

from avsctl.caches.files import write_json
from avsctl.stages.visualize_output import finished, whole_outputs

NAMES = ("v-overlay.mp4", "v-sheet.png")


def _draw(out, old=()):
    with whole_outputs(out, "v", old) as folder:
        for name in NAMES:
            (folder / name).write_text(name)
        write_json(folder / "v.json", {"fingerprint": "f", "outputs": NAMES})


def _files(out):
    return sorted(path.name for path in out.rglob("*"))


@pytest.mark.parametrize("moves", [1, 2, 3])
def test_a_kill_between_two_results_is_made_good_by_the_next_run(tmp_path, monkeypatch, moves):
    replace, done = os.replace, []

    def killed_after(source, target):
        if "ready" in str(source) and len(done) == moves - 1:
            raise KeyboardInterrupt
        done.extend([1] if "ready" in str(source) else [])
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", killed_after)
        _draw(tmp_path / "out")
    outputs = [tmp_path / "out" / name for name in (*NAMES, "v.json")]
    found = finished(tmp_path / "out/v.json", "f", outputs, overwrite=False)
    assert found == {"fingerprint": "f", "outputs": list(NAMES)}
    assert _files(tmp_path / "out") == [*NAMES, "v.json"]


def test_a_failure_leaves_what_was_there_before(tmp_path):
    _draw(tmp_path)
    with pytest.raises(RuntimeError), whole_outputs(tmp_path, "v", [tmp_path / name for name in NAMES]) as folder:
        (folder / "v-overlay.mp4").write_text("half")
        raise RuntimeError
    assert _files(tmp_path) == [*NAMES, "v.json"]
    assert (tmp_path / "v-overlay.mp4").read_text() == "v-overlay.mp4"
