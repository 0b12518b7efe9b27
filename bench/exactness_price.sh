#!/usr/bin/env bash
# The price of equal bits: r1 bench as it is and with --no-exact, which lets cuBLASLt sum products of more than 32 rows in any order, in
# turns (exact, free, exact, free). Training steps, prefill and decoding, of a dense model of 98 M parameters, the shape of Qwen3-0.6B, and
# one of 117 M with experts and latent attention, all with random weights. Attention and the products of experts are the same on both sides.
#   bench/exactness_price.sh OUT [SHAPE...]     default: dense-98m qwen3-0.6b moe-117m, of bench/shapes; OUT gets the runs' JSON
# R1 names the program (default: build/r1), ROUNDS the number of turns (2). DEVICE=cpu tries the script: small shapes, and since there is no
# --no-exact on a CPU, both sides are the same program, so that the table shows the noise. Needs Python 3, and on a GPU cuBLAS of CUDA 13.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $# -ge 1 ]] || { echo "usage: bench/exactness_price.sh OUT [SHAPE...]" >&2; exit 2; }
out=$1 r1=${R1:-build/r1} rounds=${ROUNDS:-2} device=${DEVICE:-cuda}
shift
[[ $# -gt 0 ]] || set -- dense-98m qwen3-0.6b moe-117m
mkdir -p "$out"
out=$(realpath "$out")
free=(--no-exact) batches=1,64,256 depth=128 numerics=cuda-bf16
if [[ $device == cpu ]]; then
  free=() batches=1,4 depth=8 numerics=cpu-bf16
else
  cublas=$(bench/cublas_folder.sh)
  export LD_LIBRARY_PATH=$cublas${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi

# turn SHAPE SIDE ROUND OPTIONS...: one run of each kind.
turn() {
  local shape=$1 name=$out/$1-$2-$3
  shift 3
  local rows=32 length=1024 micro=32768
  case $shape in
    qwen3-0.6b) rows=8 micro=8192 ;;
    moe-117m) length=512 micro=16384 ;;
  esac
  [[ $device != cpu ]] || { rows=2 length=32 micro=64; }
  "$r1" bench "$out/$shape/config.json" --train --device "$device" --numerics $numerics --rows $rows --length $length --micro $micro \
    --repeat 3 --json "$@" >"$name-train.json"
  "$r1" bench "$out/$shape" --random-weights --no-llama-cpp --device "$device" --numerics $numerics --depth $depth --batch $batches \
    --repeat 3 --json "$@" >"$name-decode.json"
}

for shape in "$@"; do
  [[ -e bench/shapes/$shape.json ]] || { echo "bench/exactness_price.sh: bench/shapes/$shape.json is missing" >&2; exit 2; }
  rm -rf "$out/$shape" "$out/$shape"-{exact,free}-*.json
  mkdir "$out/$shape"
  if [[ $device == cpu ]]; then
    python3 bench/small_shape.py "bench/shapes/$shape.json" "$out/$shape/config.json"
  else
    cp "bench/shapes/$shape.json" "$out/$shape/config.json"
  fi
  for ((round = 1; round <= rounds; round++)); do
    turn "$shape" exact "$round"
    turn "$shape" free "$round" ${free[@]+"${free[@]}"}
  done
  python3 bench/exactness_price_table.py "$out" "$shape"
done
