"""Kill commands with SIGKILL at random moments, run them again until they finish, and compare every byte.

    python tests/faults/kill_anywhere.py --kills 50 --seed 0

An uninterrupted run of prepare, extract-audio, train-avs, predict-priors, train-avss and evaluate on a tiny drawn
dataset comes first. Then each kill starts from what that run had before a step, stops the step's command once or a
few times, and repeats the very same command until it exits with 0. The workspace must then hold the same files with
the same bytes, and nothing else; `timing.json` alone, which holds wall-clock times, is left out.

Half of the kills come right before or after the n-th change of a directory or synchronisation of a file (where
half-written data would show), the others after a random share of the command's time. Each command runs in a fork of
this process, which has loaded everything, so that kills hit its work and not its imports. With `--signals TERM,INT`
the commands are asked to stop instead, and must exit with 143 or 130.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TRAINING = "--preset tiny --image-size 64 --epochs 2 --max-steps 2 --batch-clips 2 --device cpu"
STEPS = {
    "prepare": "prepare synthetic --clips 18 --size 32 --workers 1",
    "extract-audio": "extract-audio --workers 1",
    "train-avs": f"train-avs {TRAINING} --checkpoint-minutes 0.000001",
    "predict-priors": "predict-priors --device cpu --size 64",
    "train-avss": f"train-avss {TRAINING} --prior predicted --checkpoint-minutes 0.000001",
    "evaluate": "evaluate --split test --device cpu",
}
WALL_CLOCK = {"timing.json"}
CHANGES = ("replace", "rename", "unlink", "fsync", "mkdir", "rmdir")
"""Functions of `os` around which a kill may come."""
MAX_RERUNS = 10


@dataclass(frozen=True)
class Result:
    """One killed command.

    Args:
        moments: of each time it was killed, before it was left alone.
        problem: what went wrong, None if the bytes are the same.
    """

    step: str
    moments: tuple[str, ...]
    problem: str | None

    @property
    def kills(self) -> int:
        return len(self.moments)


class Harness:
    """Runs the commands and keeps the uninterrupted run's workspace before and after each step."""

    def __init__(self, folder: Path, steps: Sequence[str]):
        self.folder = folder
        self.log = folder / "log.txt"
        self.before: dict[str, Path] = {}
        self.after: dict[str, dict[str, str]] = {}
        self.seconds: dict[str, float] = {}
        self.changes: dict[str, int] = {}
        place = folder / "straight"
        place.mkdir()
        order = list(STEPS)
        for step in order[: 1 + max(order.index(step) for step in steps)]:
            self.before[step] = Path(shutil.copytree(place, folder / f"before-{step}", symlinks=True))
            self._straight(step, place)

    def _straight(self, step: str, place: Path) -> None:
        counter = self.folder / "changes"
        started = time.monotonic()
        code = _wait(_start(STEPS[step], place, self.log, lambda: _count_changes(counter)))
        self.seconds[step] = time.monotonic() - started
        if code != 0:
            raise SystemExit(f"'avsctl {STEPS[step]}' failed without any kill:\n{self.log.read_text()[-2000:]}")
        self.changes[step] = int(counter.read_text())
        self.after[step] = contents(place)

    def kill(self, step: str, rng: random.Random, signals: Sequence[signal.Signals]) -> Result:
        """Stop a step's command at 1 to 3 moments, finish it, and compare."""
        place = Path(shutil.copytree(self.before[step], self.folder / "killed", symlinks=True))
        try:
            moments = []
            for _ in range(rng.choice((1, 1, 2, 3))):
                signum = rng.choice(signals)
                code, moment = self._kill_once(step, place, rng, signum)
                if code not in (0, -signum, 128 + signum):
                    return Result(step, (moment,), f"exit code {code}: {self.log.read_text()[-300:]}")
                moments += [moment] if code else []  # 0: it was done before
            for _ in range(MAX_RERUNS):
                code = run_step(STEPS[step], place, self.log)
                if code == 0:
                    return Result(step, tuple(moments), _difference(self.after[step], contents(place)))
            return Result(step, tuple(moments), f"exit code {code} of the rerun: {self.log.read_text()[-300:]}")
        finally:
            shutil.rmtree(place)

    def _kill_once(self, step: str, place: Path, rng: random.Random, signum: signal.Signals) -> tuple[int, str]:
        """Run a step and send it a signal; gives its exit code and the moment."""
        if rng.random() < 0.5:
            number, late = rng.randrange(1, self.changes[step] + 1), rng.random() < 0.5
            code = _wait(_start(STEPS[step], place, self.log, lambda: _send_at_change(signum, number, late)))
            return code, f"{signum.name} {'after' if late else 'before'} change {number}"
        share = rng.random()
        process = _start(STEPS[step], place, self.log)
        time.sleep(share * self.seconds[step])
        os.kill(process, signum)
        return _wait(process), f"{signum.name} at {share:.0%} of its time"


def run_step(command: str, place: Path, log: Path) -> int:
    """Run a command in a folder, in a fork of this process; returns its exit code."""
    return _wait(_start(command, place, log))


def _start(command: str, place: Path, log: Path, prepare: Callable[[], None] = lambda: None) -> int:
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.chdir(place)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        prepare()
        code = _command(command.split())
    finally:
        sys.stdout.flush()
        os._exit(code)


def _wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _command(words: list[str]) -> int:
    from avsctl.cli import cli
    from avsctl.cli._console import run_guarded

    sys.argv = ["avsctl", *words]
    return run_guarded(cli)


def load_everything() -> None:
    import avsctl.cli
    import avsctl.stages.evaluate
    import avsctl.stages.extract_audio
    import avsctl.stages.predict_priors
    import avsctl.stages.prepare
    import avsctl.stages.train

    for name in avsctl.cli.COMMANDS:
        avsctl.cli.cli.get_command(None, name)


def _on_change(before: Callable[[], None], after: Callable[[], None]) -> None:
    """Call functions around each change of a directory or synchronisation of a file in this process."""

    def around(function: Callable) -> Callable:
        def changed(*given, **named):
            before()
            result = function(*given, **named)
            after()
            return result

        return changed

    for name in CHANGES:
        setattr(os, name, around(getattr(os, name)))


def _count_changes(counter: Path) -> None:
    seen = [0]

    def count() -> None:
        seen[0] += 1
        descriptor = os.open(counter, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(descriptor, str(seen[0]).encode())
        os.close(descriptor)

    _on_change(lambda: None, count)


def _send_at_change(signum: signal.Signals, number: int, late: bool) -> None:
    seen = [0]

    def count() -> None:
        seen[0] += 1
        if seen[0] == number:
            os.kill(os.getpid(), signum)

    _on_change(*((lambda: None, count) if late else (count, lambda: None)))


def contents(folder: Path) -> dict[str, str]:
    """The hash of every file of a workspace, hidden ones and folders included."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name not in WALL_CLOCK:
            name = path.relative_to(folder).as_posix()
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


def _difference(expected: dict[str, str], found: dict[str, str]) -> str | None:
    names = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if not names:
        return None
    kinds = {
        name: "missing" if name not in found else "left over" if name not in expected else "other bytes"
        for name in names
    }
    return ", ".join(f"{name} ({kind})" for name, kind in list(kinds.items())[:5])


def run(
    kills: int, seed: int, steps: Sequence[str], signals: Sequence[signal.Signals], report: Callable[[str], None]
) -> list[Result]:
    """Stop commands until that has happened `kills` times, the steps in turn."""
    rng = random.Random(seed)
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        harness = Harness(Path(folder), steps)
        times = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in harness.seconds.items())
        report(f"uninterrupted: {times}")
        while sum(result.kills for result in results) < kills:
            result = harness.kill(steps[len(results) % len(steps)], rng, signals)
            results.append(result)
            report(f"{result.step}: {', '.join(result.moments) or 'done before'}: {result.problem or 'same bytes'}")
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", default=",".join(STEPS), help="commands, with commas between them")
    parser.add_argument("--signals", default="KILL", help="to stop with, one drawn each time: KILL,TERM,INT")
    given = parser.parse_args()
    signals = [signal.Signals[f"SIG{name}"] for name in given.signals.split(",")]
    load_everything()
    results = run(given.kills, given.seed, given.steps.split(","), signals, lambda line: print(line, flush=True))
    killed = Counter()
    for result in results:
        killed[result.step] += result.kills
    failed = [result for result in results if result.problem]
    counts = {"kills": sum(killed.values()), "by_step": dict(killed), "commands": len(results), "failed": len(failed)}
    print(json.dumps({**counts, "seed": given.seed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
