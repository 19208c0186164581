#!/usr/bin/env bash
# Three longer trainings of the tiny model on the synthetic dataset, which show the order that the paper argues for:
# semantic mIoU with the oracle prior > with the predicted prior > single stage, without a prior.
#   bash examples/evidence.sh [WORKSPACE]        default: ./evidence
# AVSCTL_VENV moves the environment, PYTHON chooses the interpreter, AVSCTL_EPOCHS the length of each training.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source examples/environment.sh
make_environment ".venv" "."

WORKSPACE="$(mkdir -p "${1:-evidence}" && cd "${1:-evidence}" && pwd)"
export AVSCTL_WORKSPACE="$WORKSPACE"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
avsctl() { echo; echo "\$ avsctl $*"; "$VENV/bin/avsctl" "$@"; }
started=$SECONDS
epochs="${AVSCTL_EPOCHS:-48}"
rate="$("$VENV/bin/python" examples/matmul_rate.py)"
echo "one core of this machine multiplies float32 matrices at $rate GFLOP/s"

avsctl prepare synthetic
avsctl extract-audio

# Two cores, two lanes: the two-stage model's stage 2 in one, stage 1 and then the single stage in the other.
"$VENV/bin/avsctl" train-avss --preset tiny --prior oracle --epochs "$epochs" > "$WORKSPACE/train-avss.log" 2>&1 &
stage2=$!
trap 'kill "$stage2" 2>/dev/null || true' EXIT
avsctl train-avs --preset tiny --augment --epochs "$epochs"
avsctl train-avss --preset tiny --prior none --epochs "$epochs"
wait "$stage2" || { cat "$WORKSPACE/train-avss.log" >&2; exit 1; }

avsctl predict-priors
avsctl predict-priors --level low
avsctl predict-priors --level high
avsctl evaluate --split test --task avs
avsctl evaluate --split test --task avs --audio other-clip
avsctl evaluate --split test --prior all

echo
echo "done in $((SECONDS - started)) s after the install, at $rate GFLOP/s on one core"
