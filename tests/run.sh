#!/usr/bin/env bash
# Makes an environment (once), installs avsctl with its test extra, lints, checks types, and runs every test.
#   bash tests/run.sh [pytest arguments]
# AVSCTL_VENV moves the environment, PYTHON chooses the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source examples/environment.sh
make_environment ".venv-test" ".[test]" --editable
# Small tensors are quicker on one thread, and many processes on few cores don't get in each other's way.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
"$VENV/bin/ruff" check .
"$VENV/bin/mypy"
exec "$VENV/bin/python" -m pytest -n 2 --dist loadfile "$@"
