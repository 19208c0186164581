"""Give damaged and hostile files to the real commands: each must end in 0 or in 2 with one line that says why.

    python tests/faults/fuzz.py                    the whole corpus: 1,045 mutants of seed 0
    python tests/faults/fuzz.py --only h5-17       one of them again, its output shown
    python tests/faults/fuzz.py --kinds png,mp4 --each 500 --seed 3

Every mutant runs in a process of its own, forked from this one (which has loaded torch once), with limits: 60
seconds of work, 4 GB of memory, and a time after which it counts as hanging (--wait). A traceback, another exit code,
more or less than one line of error, a warning of a library, a file outside the workspace, or a limit reached is a
failure; it is printed with the name that repeats it. Ctrl-C ends the run with the counts so far.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads don't live on in a forked process
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
from fuzz_base import make_base  # noqa: E402
from fuzz_targets import AVS, KINDS, OPTIONS  # noqa: E402

SECONDS = 60
"""Of a core, and of the clock unless --wait says more: a busy machine lets a command wait for its turn."""
MEMORY = 4 * 10**9
EACH = 95
LEAKED, SLOW = 99, 98
_LOG = re.compile(r"\d\d:\d\d:\d\d ")
_QUIET = ("found ", "stopped; ")


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant.

    Args:
        name: `<kind>-<number>`, which repeats it.
        what: the command, the file, and what was done to it.
        problem: why it is a failure, empty if it is none.
    """

    name: str
    what: str
    code: int
    problem: str
    seconds: float
    memory: int
    output: str


class Fuzzer:
    """Makes mutants of the files in a base folder and runs the commands on them.

    Args:
        base: made by `make_base`.
        scratch: an empty folder for the cases; each is removed when it is done.
    """

    def __init__(self, base: Path, scratch: Path, seed: int = 0, *, keep: bool = False, wait: float = SECONDS):
        self.base, self.scratch, self.seed, self.keep, self.wait = base, scratch, seed, keep, wait
        _load_everything()

    def run(self, names: Iterable[str]) -> Iterator[Outcome]:
        """Run the cases of these names."""
        for name in names:
            kind, number = name.rsplit("-", 1)
            yield self._case(kind, int(number))

    def _case(self, kind: str, number: int) -> Outcome:
        folder = self.scratch / "case"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.base, folder, copy_function=os.link)
        rng = np.random.default_rng([self.seed, sum(kind.encode()), number])
        target, command, mutate = KINDS[kind].draw(rng)
        if kind == "config" and rng.random() < 0.7:
            own = OPTIONS[Path(target.pattern).suffix]
            mutate = own[int(rng.integers(len(own)))]
        pattern = f"{AVS}/{target.pattern}" if target.pattern == "last.safetensors" else target.pattern
        found = sorted(folder.glob(pattern))
        path = found[int(rng.integers(len(found)))]
        self._unfinished(folder, target.pattern)
        shutil.copy(path, f"{path}.own")
        os.replace(f"{path}.own", path)
        mutate(rng, path)
        what = f"avsctl {command}   # {path.relative_to(folder)}: {mutate.__name__}"
        outcome = self._run(f"{kind}-{number}", what, shlex.split(command), folder)
        if not self.keep:
            shutil.rmtree(folder, ignore_errors=True)
        return outcome

    def _unfinished(self, folder: Path, pattern: str) -> None:
        """A run that can be resumed, where its checkpoint is to be read."""
        if pattern != "last.safetensors":
            return
        for name in ("config.json", "record.json"):
            text = (folder / AVS / name).read_text()
            (folder / AVS / name).unlink()
            text = text.replace('"complete": true', '"complete": false').replace('"epochs": 1', '"epochs": 2')
            (folder / AVS / name).write_text(text)

    def _run(self, name: str, what: str, words: list[str], folder: Path) -> Outcome:
        log = self.scratch / "output"
        before = _listing(self.scratch, folder)
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _child(words, folder, log, self.wait)
        status, usage = _wait(pid, self.wait + 20)
        seconds, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
        if time.monotonic() - started > self.wait:
            seconds = self.wait + 1
        code = os.waitstatus_to_exitcode(status)
        output = log.read_text(encoding="utf-8", errors="replace")
        problem = _problem(code, output, seconds, memory)
        if not problem and (_listing(self.scratch, folder) != before or (folder / "owned").exists()):
            problem = "wrote outside the workspace"
        return Outcome(name, what, code, problem, seconds, memory, output)


def names_of(kinds: Iterable[str], each: int) -> list[str]:
    """The names of a corpus, its kinds in turn."""
    kinds = list(kinds)
    return [f"{kind}-{number}" for number in range(each) for kind in kinds]


def _load_everything() -> None:
    """What every command needs, loaded once."""
    from avsctl.cli import COMMANDS, cli

    for name in COMMANDS:
        cli.get_command(None, name)


def _child(words: list[str], folder: Path, log: Path, wait: float) -> None:
    """Run one command in a forked process; never returns."""
    code = LEAKED
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.chdir(folder)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, lambda *_: _give_up())
        signal.alarm(int(wait))
        signal.signal(signal.SIGXCPU, lambda *_: _give_up())
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
        sys.stdout, sys.stderr = (
            os.fdopen(n, "w", encoding="utf-8", errors=e, buffering=1)
            for n, e in ((1, "strict"), (2, "backslashreplace"))
        )
        sys.argv = ["avsctl", *words]
        from avsctl.cli import cli
        from avsctl.cli._console import run_guarded

        code = run_guarded(cli)
        sys.stdout.flush()
    except BaseException:  # whatever leaks is what is looked for
        traceback.print_exc()
    os._exit(code)


def _give_up() -> None:
    traceback.print_stack()
    os._exit(SLOW)


def _wait(pid: int, seconds: float) -> tuple[int, resource.struct_rusage]:
    """The status of a process and what it used; killed where even its alarm does not ring."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return status, usage
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return status, usage


def _problem(code: int, output: str, seconds: float, memory: int) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    if code == SLOW or seconds > SECONDS:
        return f"took more than {SECONDS} s"
    if memory > MEMORY:
        return f"took {memory / 1e9:.1f} GB"
    if code == LEAKED or "Traceback" in output:
        return f"a traceback: {lines[-1] if lines else ''}"
    if code not in (0, 2):
        return f"exit code {code}: {errors[-1] if errors else lines[-1:]}"
    if len(errors) != (1 if code == 2 else 0):
        return f"{len(errors)} lines of error with exit code {code}"
    if any(ord(letter) < 32 and letter not in "\n\t" for letter in output):
        return "control characters in the output"
    noise = [line for line in lines if re.search(r"Warning:|Error\b.*:\d+$|^\[\w+ @ 0x", line) and line not in errors]
    return f"a library's own words: {noise[0]}" if noise else ""


def _listing(scratch: Path, folder: Path) -> list[str]:
    """What lies around a case's folder, and in the folders of it that commands only read."""
    read_only = (folder / name for name in ("semantic", "object", "own", "masks", "configs"))
    inside = (path for place in read_only for path in place.rglob("*"))
    return sorted(str(path) for path in (*scratch.iterdir(), *inside) if path.name != "output")


def report(outcomes: Iterable[Outcome], show: bool = False) -> int:
    """Print failures as they come, then counts by kind; gives the number of failures."""
    codes: Counter[tuple[str, str]] = Counter()
    kinds, slowest, largest = [], 0.0, 0
    for outcome in _until_stopped(outcomes):
        kind = outcome.name.rsplit("-", 1)[0]
        kinds += [] if kind in kinds else [kind]
        codes[kind, "failed" if outcome.problem else str(outcome.code)] += 1
        slowest, largest = max(slowest, outcome.seconds), max(largest, outcome.memory)
        if outcome.problem:
            print(f"FAILED {outcome.name}: {outcome.problem}\n    {outcome.what}", flush=True)
        if show:
            print(
                f"{outcome.what}\n{outcome.output}exit code {outcome.code}, {outcome.seconds:.1f} s, "
                f"{outcome.memory / 1e6:.0f} MB"
            )
    print(f"{'kind':12} {'mutants':>8} {'exit 0':>8} {'exit 2':>8} {'failed':>8}")
    for kind in [*kinds, "all"]:
        counts = [
            sum(n for (k, c), n in codes.items() if kind in (k, "all") and c == code) for code in ("0", "2", "failed")
        ]
        print(f"{kind:12} {sum(counts):8} {counts[0]:8} {counts[1]:8} {counts[2]:8}")
    print(f"slowest {slowest:.1f} s, largest {largest / 1e9:.2f} GB")
    return sum(n for (_, code), n in codes.items() if code == "failed")


def _until_stopped(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """All outcomes, or those up to a Ctrl-C."""
    try:
        yield from outcomes
    except KeyboardInterrupt:
        print("stopped", flush=True)


def main() -> int:
    """Run a corpus and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=EACH, help="mutants of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which kinds, with commas between them")
    parser.add_argument("--only", help="one mutant by its name, such as h5-17; its folder is kept and named")
    parser.add_argument("--base", type=Path, help="an existing base folder, else one is made")
    parser.add_argument("--wait", type=float, default=SECONDS, help="seconds of the clock after which one hangs")
    given = parser.parse_args()
    os.environ["COLUMNS"] = "200"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="avsctl-fuzz-") as home:
        base = given.base or Path(home) / "base"
        if not base.exists():
            base.mkdir(parents=True)
            make_base(base)
        scratch = (
            Path(tempfile.mkdtemp(prefix="avsctl-fuzz-case-", dir=base.parent)) if given.only else Path(home) / "cases"
        )
        scratch.mkdir(exist_ok=True)
        fuzzer = Fuzzer(base, scratch, given.seed, keep=bool(given.only), wait=given.wait)
        names = [given.only] if given.only else names_of(given.kinds.split(","), given.each)
        failed = report(fuzzer.run(names), show=bool(given.only))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
