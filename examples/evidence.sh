#!/usr/bin/env bash
# Three longer trainings of the tiny model on the synthetic dataset, which show the order that the paper argues for:
# semantic mIoU with the oracle prior > with the predicted prior > single stage, without a prior.
#   bash examples/evidence.sh [WORKSPACE]        default: ./evidence
# Stage 1 is trained for 48 epochs on random views, stage 2 and the single stage for 24 each, alike but for the prior.
# AVSCTL_VENV moves the environment, PYTHON chooses the interpreter; AVSCTL_EPOCHS_AVS and AVSCTL_EPOCHS_AVSS set the
# length of the trainings.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source examples/environment.sh
make_environment ".venv" "."

WORKSPACE="$(mkdir -p "${1:-evidence}" && cd "${1:-evidence}" && pwd)"
export AVSCTL_WORKSPACE="$WORKSPACE"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
avsctl() { echo; echo "\$ avsctl $*"; "$VENV/bin/avsctl" "$@"; }
started=$SECONDS
epochs_avs="${AVSCTL_EPOCHS_AVS:-48}"
epochs_avss="${AVSCTL_EPOCHS_AVSS:-24}"
rate="$("$VENV/bin/python" examples/matmul_rate.py)"
echo "one core of this machine multiplies float32 matrices at $rate GFLOP/s"

avsctl prepare synthetic
avsctl extract-audio

# Two cores, two lanes: stage 1 in one; stage 2, which learns on the ground truth, and the single stage in the other.
set -m # a process group of its own, so that stopping this script stops it too
(
    "$VENV/bin/avsctl" train-avss --preset tiny --prior oracle --epochs "$epochs_avss"
    "$VENV/bin/avsctl" train-avss --preset tiny --prior none --epochs "$epochs_avss"
) > "$WORKSPACE/train-avss.log" 2>&1 &
lane=$!
set +m
trap 'kill -- "-$lane" 2>/dev/null || true' EXIT
avsctl train-avs --preset tiny --augment --epochs "$epochs_avs"
echo "waiting for stage 2 and the single stage ($WORKSPACE/train-avss.log)"
wait "$lane" || { cat "$WORKSPACE/train-avss.log" >&2; exit 1; }

avsctl predict-priors
avsctl predict-priors --level low
avsctl predict-priors --level high
avsctl evaluate --split test --task avs
avsctl evaluate --split test --task avs --audio other-clip
avsctl evaluate --split test --prior all

echo
echo "done in $((SECONDS - started)) s after the install, at $rate GFLOP/s on one core"
