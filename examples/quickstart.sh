#!/usr/bin/env bash
# From nothing to a labelled video on the CPU: makes an environment, installs avsctl, and runs the whole pipeline on
# the synthetic dataset. A second run reuses what is there.
#   bash examples/quickstart.sh [WORKSPACE]        default: ./quickstart
# AVSCTL_VENV moves the environment, PYTHON chooses the interpreter. AVSCTL_EPOCHS_AVS and AVSCTL_EPOCHS_AVSS set the
# length of the two trainings; without them it is chosen by the speed of the machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source examples/environment.sh
make_environment ".venv" "."

WORKSPACE="$(mkdir -p "${1:-quickstart}" && cd "${1:-quickstart}" && pwd)"
export AVSCTL_WORKSPACE="$WORKSPACE"
avsctl() { echo; echo "\$ avsctl $*"; "$VENV/bin/avsctl" "$@"; }
started=$SECONDS

# One thread: tiny's operations are too small to share, and threads that wait for one another on a busy machine are slow.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
rate="$("$VENV/bin/python" examples/matmul_rate.py)"
echo "one core of this machine multiplies float32 matrices at $rate GFLOP/s"
# The steps stay, the training gets shorter where the machine is slow; a second run keeps the first one's length.
if [ "$rate" -ge 60 ]; then epochs="24 16"; elif [ "$rate" -ge 40 ]; then epochs="14 9"
elif [ "$rate" -ge 25 ]; then epochs="8 6"; else epochs="4 3"; fi
[ -e "$WORKSPACE/epochs" ] || echo "${AVSCTL_EPOCHS_AVS:-${epochs% *}} ${AVSCTL_EPOCHS_AVSS:-${epochs#* }}" > "$WORKSPACE/epochs"
read -r EPOCHS_AVS EPOCHS_AVSS < "$WORKSPACE/epochs"

avsctl prepare synthetic
avsctl extract-audio

# Stage 2 learns on the ground truth as its prior, so it need not wait for stage 1: each trains on a core of its own.
train_avss=(train-avss --preset tiny --prior oracle --epochs "$EPOCHS_AVSS")
"$VENV/bin/avsctl" "${train_avss[@]}" > "$WORKSPACE/train-avss.log" 2>&1 &
stage2=$!
trap 'kill "$stage2" 2>/dev/null || true' EXIT
avsctl train-avs --preset tiny --epochs "$EPOCHS_AVS"
avsctl predict-priors

echo; echo "\$ avsctl ${train_avss[*]}   (started beside stage 1)"
wait "$stage2" || { cat "$WORKSPACE/train-avss.log" >&2; exit 1; }
tail -n 4 "$WORKSPACE/train-avss.log"

avsctl evaluate --split test --task avs
avsctl evaluate --split test --task avs --subset ms3 --audio other-clip
avsctl evaluate --split test --prior all
avsctl visualize --split test --subset ms3 --clips 6

echo
echo "done in $((SECONDS - started)) s after the install, at $rate GFLOP/s on one core"
echo "pictures: $WORKSPACE/visualize/clips-test-ms3/summary.png and *-sheet.png; videos with sound: *-overlay.mp4 beside them"
echo "try your own: $VENV/bin/avsctl visualize video.mp4 --workspace $WORKSPACE"
