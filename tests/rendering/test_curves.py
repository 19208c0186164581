from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from avsctl.rendering.curves import draw_curves


def ink(path):
    return int((np.asarray(Image.open(path).convert("L")) < 200).sum())


def test_curves_are_drawn_past_missing_values(tmp_path):
    history = [{"epoch": n, "loss": 3 / n, "val_miou": 0.1 * n} for n in range(1, 6)]
    history[1]["val_miou"] = None
    history[2]["loss"] = float("nan")
    full = draw_curves(history, tmp_path / "curve.png", title="run")
    bare = draw_curves([{"loss": 1.0}], tmp_path / "bare.png", scores=())
    assert Image.open(full).size[0] > 600 and ink(full) > ink(bare)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bare.png", "curve.png"]


def test_many_keys_and_epochs_are_drawn(tmp_path):
    keys = [f"loss_{n}" for n in range(9)]
    history = [{key: n + e for n, key in enumerate(keys)} for e in range(60)]
    assert ink(draw_curves(history, tmp_path / "m.png", losses=keys, scores=["loss_1", "loss_2"])) > 1000


def test_an_empty_history_is_refused(tmp_path):
    with pytest.raises(ValueError):
        draw_curves([], tmp_path / "c.png")
    assert not list(tmp_path.iterdir())


def test_matplotlib_is_loaded_only_to_draw():
    code = "import sys, avsctl.rendering.curves; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
