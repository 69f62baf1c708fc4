#!/usr/bin/env bash
# What needs a GPU, in one go: tests, rates of trainings and refinement, what a run of the toy world takes.
#
#   benchmarks/gpu.sh                                      # under eight minutes on one GPU with 16 cores
#   WSSS_DEVICE=cpu QUICK=1 JOBS=1 benchmarks/gpu.sh       # does every part run?
#
# Each part writes OUT/gpu_<part>.txt (by default in benchmarks/results) and isn't repeated once it is done: after an
# interruption, the same command goes on. The toy run keeps its run store in STORE, and goes on from there, too.
# PYTHON: the environment. SHARE: how many steps share a GPU. PATIENCE: a factor of every part's time limit. The exit
# status is 1 if a part has failed.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=$(realpath -m "${OUT:-benchmarks/results}") STORE=${STORE:-${TMPDIR:-/tmp}/wsss-gpu-store}
PYTHON=${PYTHON:-.venv/bin/python} JOBS=${JOBS:-$(nproc)} QUICK=${QUICK:-} PATIENCE=${PATIENCE:-1}
export WSSS_DEVICE=${WSSS_DEVICE:-cuda} WSSS_GPU_SHARE=${SHARE:-8} WSSS_CACHE=$STORE WSSS_PROGRESS=plain
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
mkdir -p "$OUT" "$STORE"
failed=0

part() {  # name, seconds at most, command
    local name=$1 limit=$(($2 * PATIENCE)) file=$OUT/gpu_$1.txt began=$SECONDS status
    shift 2
    if tail -n 1 "$file" 2>/dev/null | grep -q '^done '; then echo "$name: done before"; return; fi
    timeout --signal=INT --kill-after=20 "$limit" "$@" >"$file" 2>&1
    status=$?
    if [ "$status" = 0 ]; then echo "done in $((SECONDS - began)) s" >>"$file"
    else echo "stopped after $((SECONDS - began)) s, status $status" >>"$file"; failed=1; fi
    echo "$name: $(tail -n 1 "$file")"
}

if [ -n "$QUICK" ]; then
    rates=(--steps 1 --side 65 --batch 2 --only roy2017) small=(--quick) tests=(tests/lab/test_trial.py) profile=quick paper=primer
else
    rates=(--steps 20) small=() profile=toy paper=oh2017
    tests=(tests/lab/test_trial.py tests/networks/test_{fit,inference,deeplab_v3plus}.py
           tests/refinement/test_{pamr,affinity}.py)
fi
part tests 90 "$PYTHON" -m pytest -q -p no:cacheprovider "${tests[@]}"
part rates 120 "$PYTHON" benchmarks/bench_gpu.py --device "$WSSS_DEVICE" "${rates[@]}"
part device 60 "$PYTHON" benchmarks/bench_device.py --device "$WSSS_DEVICE" "${small[@]}"
part plan 90 "$PYTHON" -m wsss_lab plan --profile $profile --paper $paper --device "$WSSS_DEVICE" --jobs "$JOBS"
part toy 240 "$PYTHON" -m wsss_lab reproduce --profile $profile --paper $paper --device "$WSSS_DEVICE" \
    --jobs "$JOBS" --out "$STORE/figures" --executed "$STORE/notebooks"
part store 20 "$PYTHON" -m wsss_lab cache
exit $failed
