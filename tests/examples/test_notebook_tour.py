"""The notebook runs from its first cell to its last, and its pictures are those of its own code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook_tour.ipynb"


def _cells(kind: str) -> list[dict]:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == kind]


def test_it_runs_as_a_script_on_a_tiny_workspace(tiny_workspace, workspace_copy, tmp_path):
    root = workspace_copy(tiny_workspace)
    cells = [
        f"from pathlib import Path\nROOT, EPOCHS_AVS, EPOCHS_AVSS = Path({str(root)!r}), 1, 1"
        if "parameters" in cell["metadata"].get("tags", [])
        else "".join(cell["source"])
        for cell in _cells("code")
    ]
    script = tmp_path / "tour.py"
    # The trainings of the notebook itself are long; here one step of one clip teaches nothing and costs little.
    script.write_text("\n\n".join(cells).replace("epochs=EPOCHS", "max_steps=1, epochs=EPOCHS"), encoding="utf-8")
    environment = {**os.environ, "MPLBACKEND": "agg", "PYTHONWARNINGS": "error::SyntaxWarning"}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "test {'s4': 2, 'ms3': 2, 'v2': 2} clips" in done.stdout
    assert done.stdout.count("foreground mIoU") == 3
    assert {path.name for path in (root / "reports" / "test").glob("avss*.json")} and (root / "priors").is_dir()


def test_every_cell_that_draws_has_its_picture_in_the_file():
    for cell in _cells("code"):
        pictures = [output for output in cell["outputs"] if "image/png" in output.get("data", {})]
        source = "".join(cell["source"])
        draws = "plt.show()" in source.replace("    plt.show()", "") or "\nshow(" in source
        assert bool(pictures) == draws, source
        assert not any(output["output_type"] == "error" for output in cell["outputs"])
    numbers = [cell["execution_count"] for cell in _cells("code")]
    assert numbers == list(range(1, len(numbers) + 1))  # run once, in order


def test_it_is_small_enough_to_read_on_a_web_page():
    assert NOTEBOOK.stat().st_size < 1_000_000
