#!/bin/bash
# Everything that needs a GPU, in under eight minutes, and a table of it at the end:
#
#     bash bench/gpu_check.sh [PYTHON]
#
# The CUDA kernels are built and tested, a projection step is timed at 32, 256 and 1024 px beside the plain way in
# float32, TF32 and bfloat16, a network is trained by nccl with one process, and distances are compared with the CPU's.
# Each step has a time limit and none stops the others; the exit code is 1 where one failed.
set -u
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rows=()
code=0

# check NAME LIMIT COMMAND...: runs a command for LIMIT seconds at most; its last line is the result.
check() {
  local name=$1 limit=$2 start=$SECONDS status result
  shift 2
  printf '\n== %s\n' "$name"
  timeout "$limit" "$@" 2>&1 | tee "$work/output"
  status=${PIPESTATUS[0]}
  result=$(grep -v '^$' "$work/output" | tail -n 1)
  case $status in
    0) ;;
    124) result="stopped after $limit s"; code=1 ;;
    *) result="FAILED ($status): $result"; code=1 ;;
  esac
  rows+=("| $name | $((SECONDS - start)) s | ${result//|/;} |")
}

trained() {
  "$python" -m invert dataset data/samples/training "$work/images.zip" --resolution 32 -q &&
    "$python" -m torch.distributed.run --standalone --nproc-per-node 1 -m invert train --data "$work/images.zip" \
      --out "$work/run" --config small --kimg 2 --device cuda -q &&
    "$python" -m invert info "$work/run/network.safetensors" | head -n 1
}

check "GPU" 20 "$python" -c 'import sys, torch
if not torch.cuda.is_available(): sys.exit("PyTorch has no CUDA device here")
print(torch.cuda.get_device_name(), "torch", torch.__version__, "CUDA", torch.version.cuda)'
if [ $code -ne 0 ]; then
  exit 1
fi
check "kernels built" 150 "$python" -m invert doctor --build --cuda
check "kernels as on the CPU" 100 "$python" -m pytest -q -n 0 -m cuda
check "distances as on the CPU" 60 "$python" -m bench.device_parity --device cuda --images 16
export -f trained
export python work
check "training by nccl" 45 bash -c trained
for case in "32 px" "256 px config E" "1024 px config F"; do
  check "step, $case" 45 "$python" -m bench.projection_step --device cuda --case "$case" --budget 1
done

printf '\n| check | time | result |\n|---|---|---|\n'
printf '%s\n' "${rows[@]}"
printf '\nin all %d s; the tables of the steps are above\n' "$SECONDS"
exit $code
