"""Run every command twice, in two new folders, and compare every byte.

    python tests/faults/twice.py

prepare, extract-audio, train-avs, predict-priors (by stage 1 and simulated), train-avss, evaluate and visualize, on a
tiny drawn dataset; `timing.json` alone, which holds wall-clock times, is left out.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from kill_anywhere import STEPS, contents, load_everything, run_step  # noqa: E402 - a script beside this one

COMMANDS = {
    **STEPS,
    "simulate": "predict-priors --level low --size 64 --workers 1",
    "visualize": "visualize --split test --clips 2 --device cpu",
}


def run_all(folder: Path, log: Path) -> dict[str, dict[str, str]]:
    """The workspace's content after each command."""
    folder.mkdir()
    found = {}
    for name, command in COMMANDS.items():
        code = run_step(command, folder, log)
        if code != 0:
            raise SystemExit(f"'avsctl {command}' failed:\n{log.read_text()[-2000:]}")
        found[name] = contents(folder)
    return found


def main() -> int:
    load_everything()
    with tempfile.TemporaryDirectory() as folder:
        # The same path both times: files that record where something lies are compared like all others.
        place, log = Path(folder) / "workspace", Path(folder) / "log.txt"
        first = run_all(place, log)
        shutil.rmtree(place)
        second = run_all(place, log)
    differs = {}
    for name in COMMANDS:
        names = first[name].keys() | second[name].keys()
        differs[name] = sorted(path for path in names if first[name].get(path) != second[name].get(path))
    files = len([kind for kind in second["visualize"].values() if kind != "folder"])
    print(json.dumps({"commands": list(COMMANDS), "files": files, "different": differs}, indent=1))
    return int(any(differs.values()))


if __name__ == "__main__":
    sys.exit(main())
