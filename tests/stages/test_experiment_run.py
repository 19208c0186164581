"""What a failing cell costs, and what not."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from avsctl.stages.experiment_cells import MISSING, THERE, in_order
from avsctl.stages.experiment_run import run_cells


@dataclass(frozen=True)
class FileCell:
    """A cell that is there when its file is."""

    path: Path
    needs: tuple[FileCell, ...] = ()

    @property
    def title(self) -> str:
        return self.path.name

    def state(self) -> str:
        return THERE if self.path.exists() else MISSING

    def words(self) -> list[str]:
        return [str(self.path)]


def write_or_fail(title: str, words: list[str]) -> str | None:
    """Cells are called after what becomes of them."""
    if title.startswith("bad"):
        return "the loss became nan"
    if title.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if not title.startswith("lazy"):
        Path(words[0]).write_text(title)
    return None


def outcomes(cells, **options):
    return {one.cell.title: one.problem for one in run_cells(in_order(cells), write_or_fail, **options)}


def test_what_needs_a_failed_cell_is_left_out_and_the_rest_is_finished(tmp_path):
    bad, good = FileCell(tmp_path / "bad"), FileCell(tmp_path / "good")
    after_bad, after_good = FileCell(tmp_path / "after_bad", (bad, good)), FileCell(tmp_path / "after_good", (good,))
    last = FileCell(tmp_path / "last", (after_bad,))
    found = outcomes([last, after_good])
    assert found == {
        "bad": "the loss became nan",
        "good": None,
        "after_bad": "it needs bad, which failed",
        "last": "it needs after_bad, which failed",
        "after_good": None,
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["after_good", "good"]


def test_a_command_that_leaves_nothing_has_failed(tmp_path):
    assert outcomes([FileCell(tmp_path / "lazy")]) == {"lazy": "its command ended, but it is missing"}


def test_what_is_there_is_not_run(tmp_path):
    cell = FileCell(tmp_path / "bad")
    cell.path.write_text("")
    [outcome] = run_cells([cell], write_or_fail)
    assert outcome.problem is None and outcome.seconds is None


def test_side_by_side_a_killed_process_costs_only_what_ran_then(tmp_path):
    killed = FileCell(tmp_path / "killed")
    after = FileCell(tmp_path / "after", (killed,))
    good = [FileCell(tmp_path / f"good{number}") for number in range(3)]
    chain = FileCell(tmp_path / "chain", tuple(good))
    found = outcomes([chain, killed, after], jobs=2)
    assert "killed" in found.pop("killed") and "needs killed" in found.pop("after")
    # Another cell that ran in that moment may be lost with it; run again, it is made.
    found = outcomes([chain], jobs=1) | {name: None for name in found}
    assert found == dict.fromkeys(["good0", "good1", "good2", "chain"])


def test_cells_that_share_a_need_get_it_once():
    shared = FileCell(Path("shared"))
    cells = [FileCell(Path("a"), (shared,)), FileCell(Path("b"), (shared,))]
    assert [cell.title for cell in in_order(cells)] == ["shared", "a", "b"]
