"""Runs what an experiment lacks, here or in several processes; what fails stops nothing but what needs it."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from avsctl.data.workers import start_worker
from avsctl.stages.experiment_cells import THERE, Cell
from avsctl.stopping import signals_left_to_parent, stopping_on_signals

Launch = Callable[[str, list[str]], str | None]
"""Runs the words of a cell's command, known by its title; gives None, or in one line what went wrong."""
KILLED = "its process was killed, perhaps for lack of memory"


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Args:
        problem: what went wrong, or None. seconds: that its command took; None if none was run.
    """

    cell: Cell
    problem: str | None = None
    seconds: float | None = None


def run_cells(cells: Sequence[Cell], launch: Launch, *, jobs: int = 1) -> Iterator[Outcome]:
    """Make sure of every cell, what is needed first; yields each when its fate is known.

    Args:
        cells: from `experiment_cells.in_order`.
        launch: picklable where there are several jobs.
        jobs: processes, each with one thread; 1 runs all in this process.
    """
    if jobs == 1:
        yield from _run_here(cells, launch)
        return
    with _Lanes(launch, jobs) as lanes:
        yield from _run_side_by_side(cells, lanes)


def _run_here(cells: Sequence[Cell], launch: Launch) -> Iterator[Outcome]:
    failed: dict[Cell, str] = {}
    for cell in cells:
        outcome = _without_running(cell, failed)
        if outcome is None:
            outcome = _timed(cell, *_launch_timed(launch, cell.title, cell.words()))
        if outcome.problem:
            failed[cell] = outcome.problem
        yield outcome


def _run_side_by_side(cells: Sequence[Cell], lanes: _Lanes) -> Iterator[Outcome]:
    todo, done = list(cells), set()
    failed: dict[Cell, str] = {}
    while todo or lanes.running:
        known = []
        for cell in [cell for cell in todo if all(needed in done or needed in failed for needed in cell.needs)]:
            outcome = _without_running(cell, failed)
            if outcome is None and lanes.full:
                continue
            todo.remove(cell)
            if outcome is None:
                lanes.start(cell)
            else:
                known.append(outcome)
        # What is known already may free others, which then start at once.
        for outcome in known or lanes.finished():
            if outcome.problem:
                failed[outcome.cell] = outcome.problem
            else:
                done.add(outcome.cell)
            yield outcome


def _without_running(cell: Cell, failed: dict[Cell, str]) -> Outcome | None:
    """The fate of a cell that is there already, or that can't be made."""
    for needed in cell.needs:
        if needed in failed:
            return Outcome(cell, f"it needs {needed.title}, which failed")
    return Outcome(cell) if cell.state() == THERE else None


def _timed(cell: Cell, problem: str | None, seconds: float) -> Outcome:
    if problem is None and cell.state() != THERE:
        problem = f"its command ended, but it is {cell.state()}"
    return Outcome(cell, problem, seconds)


def _launch_timed(launch: Launch, title: str, words: list[str]) -> tuple[str | None, float]:
    started = time.monotonic()
    return launch(title, words), time.monotonic() - started


class _Lanes:
    """Processes that run one command after the other; a killed one costs only what ran then."""

    def __init__(self, launch: Launch, jobs: int):
        self.launch = launch
        self.jobs = jobs
        self.running: dict[Future, Cell] = {}
        self._pool = self._new_pool()

    def __enter__(self) -> _Lanes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        if kind is not None:
            for process in multiprocessing.active_children():
                process.terminate()  # which a lane takes as a request to finish what it has in hand
        try:
            self._pool.shutdown(cancel_futures=True)
        except BaseException:
            for process in multiprocessing.active_children():
                process.kill()
            raise

    @property
    def full(self) -> bool:
        return len(self.running) >= self.jobs

    def start(self, cell: Cell) -> None:
        with signals_left_to_parent():  # submitting starts the processes
            future = self._pool.submit(_launch_in_lane, self.launch, cell.title, cell.words())
        self.running[future] = cell

    def finished(self) -> list[Outcome]:
        """Wait for at least one command to end."""
        done, _ = wait(self.running, return_when=FIRST_COMPLETED)
        outcomes, broken = [], False
        for future in done:
            cell = self.running.pop(future)
            try:
                outcomes.append(_timed(cell, *future.result()))
            except BrokenProcessPool:
                outcomes.append(Outcome(cell, KILLED))
                broken = True
        if broken:
            # The pool gives all its futures up; which process was killed isn't known.
            outcomes += [Outcome(cell, KILLED) for cell in self.running.values()]
            self.running.clear()
            self._pool.shutdown()
            self._pool = self._new_pool()
        return outcomes

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start_lane)


def _start_lane() -> None:
    import torch

    start_worker()
    # Ctrl-C stays the parent's to decide on, which then sends this.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    torch.set_num_threads(1)


def _launch_in_lane(launch: Launch, title: str, words: list[str]) -> tuple[str | None, float]:
    with stopping_on_signals():
        return _launch_timed(launch, title, words)
