#!/usr/bin/env bash
# Measures the rows of docs/results.md on one GPU, in parts that go on after each other's failures, each within a limit of time.
#   bench/gpu_rows_all.sh OUT [--minutes M] [--work DIR] [--small] [PART...]
#   bench/gpu_rows_all.sh --list                      the parts, in order of importance, with their limits in seconds
#   bench/gpu_rows_all.sh --pack DIR [MODEL.gguf]     what a bare machine needs beside the repository, in folders DIR/1, DIR/2, ... of at most
#                                                     PACK_MIB MiB each (no limit if it is not set); programs of a build with
#                                                     -DR1_CUDA_PTX=OFF are smaller
#   bench/gpu_rows_all.sh --unpack DIR/N              there, for each folder that has come: programs and MODEL are used when they are whole
# OUT gets PART.txt per part and summary.txt, which has the tables of all parts so far, those of earlier calls too. Runs, and what else is
# kept between calls, lie in DIR (default: runs/gpu-rows); training goes on where a call has ended it. After --minutes no part begins, and the
# last one has the rest of the time. --small tries everything on a CPU with small shapes and few steps.
# BUILD is the folder of the programs r1, gpu_sampling and gpu_bench (default: build, or what was unpacked), MODEL the file of SmolLM2 (default:
# what was unpacked, or what scripts/fetch_smollm2.sh has fetched). Exit status 1 if a part failed, or if one of the conditions that are no
# speeds, agreement and equality, is not met.
set -euo pipefail
cd "$(dirname "$0")/.."

# The parts with their limits in seconds.
parts=(agreement:120 zero:280 step:100 peers-train:560 peers-sample:420 price:300 learns:570 decode:90 head:60 ppo:240 zero-seeds:400)
limit_of() {
  local entry
  for entry in "${parts[@]}"; do [[ ${entry%:*} != "$1" ]] || { echo "${entry#*:}"; return; }; done
  echo "bench/gpu_rows_all.sh: there is no part $1; --list prints them" >&2
  exit 2
}
usage() { sed -n '3,8s/^#   /usage: /p' bench/gpu_rows_all.sh >&2; exit 2; }

pack() {
  local to=$1 model=${2:-} folder program from n size room=$((${PACK_MIB:-1000000} * 1048576))
  [[ ! -e $to ]] || { echo "bench/gpu_rows_all.sh: $to is there already" >&2; exit 2; }
  folder=$(mktemp -d)
  mkdir -p "$to/1" "$folder/pack"
  scripts/pack_programs.sh "${BUILD:-build}" "$folder/pack/bin" r1 gpu_sampling gpu_bench
  mv "$folder/pack/bin/commit" "$folder/pack/commit"
  for program in r1 gpu_sampling gpu_bench; do
    cat >"$folder/pack/$program" <<'END'
#!/bin/sh
# The program of the same name in bin/, with the libraries in bin/lib, which are for it alone: the machine's Python has others.
here=$(cd "$(dirname "$0")" && pwd)
export LD_LIBRARY_PATH="$here/bin/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$here/bin/$(basename "$0")" "$@"
END
    chmod +x "$folder/pack/$program"
  done
  mkdir "$folder/pack/evals"
  cp "${R1_TEST_DATA:-../shared/data}"/evals/gsm8k_{train,test}.jsonl "$folder/pack/evals/"
  tar -C "$folder" -cf - pack | xz -3 >"$to/1/programs.tar.xz.0"
  sha256sum <"$to/1/programs.tar.xz.0" | cut -d ' ' -f 1 >"$to/1/programs.tar.xz.sha256"
  if [[ -n $model ]]; then  # what there is room for goes beside the programs, the rest into folders of its own
    sha256sum <"$model" | cut -d ' ' -f 1 >"$to/1/model.gguf.sha256"
    for ((from = 0, n = 1; from < $(stat -c %s "$model"); from += size, n++)); do
      mkdir -p "$to/$n"
      size=$((room - (n == 1 ? $(stat -c %s "$to/1/programs.tar.xz.0") : 0)))
      ((size > 0)) || { echo "bench/gpu_rows_all.sh: the programs alone have more than $room bytes" >&2; exit 2; }
      tail -c +$((from + 1)) "$model" | head -c "$size" >"$to/$n/model.gguf.$n" || true  # tail's pipe breaks
    done
  fi
  rm -rf "$folder"
  du -ah --apparent-size "$to"
}

# Keeps the files that have come, and unpacks a kind when its last one is there.
unpack() {
  local work=runs/gpu-rows kind sum
  mkdir -p "$work/came"
  cp "$1"/* "$work/came/"
  for kind in programs.tar.xz model.gguf; do
    sum=$(cat "$work/came/$kind".[0-9]* 2>/dev/null | sha256sum | cut -d ' ' -f 1)
    if [[ $sum == "$(cat "$work/came/$kind.sha256" 2>/dev/null)" ]]; then
      [[ $kind != model.gguf ]] || cat "$work/came/$kind".[0-9]* >"$work/model.gguf"
      [[ $kind != programs.tar.xz ]] || cat "$work/came/$kind".[0-9]* | tar -C "$work" -xJf -
      echo "$kind is here"
    elif ls "$work/came/$kind".* >/dev/null 2>&1; then
      echo "$kind is not whole yet: $(ls "$work/came" | grep -c "^$kind\.[0-9]") files are here"
    fi
  done
}

# The parts. SMALL, WORK, BUILD, MODEL and LIMIT (seconds) are set.
minutes() { awk -v s="$LIMIT" 'BEGIN { printf "%.2f", (s > 60 ? (s - 30) / 60 : s / 60) }'; }
part_agreement() {
  local status=0 small=()
  ((SMALL == 0)) || small=(--reference "--device cpu --numerics cpu-f32" --other "--device cpu --numerics cpu-bf16" --tokens 512)
  python3 bench/device_agreement.py models/r1-nano --r1 "$R1" --kinds samples --prompts countdown "${small[@]}" || status=1
  ((SMALL == 1)) || python3 bench/device_agreement.py "$MODEL" --r1 "$R1" || status=1
  return $status
}
part_price() { DEVICE=$DEVICE bench/exactness_price.sh "$WORK/price"; }
peers() {
  local small=()
  ((SMALL == 0)) || small=(--device cpu)
  python3 bench/gpu_peers.py "$WORK/peers" "$1" --r1 "$R1" --sampler "$SAMPLER" "${small[@]}"
}
part_peers-train() { peers train; }
part_peers-sample() { peers sample; }
zero() {
  local small=()
  ((SMALL == 0)) || small=(--small --reach 0.3)
  bench/zero_10m.sh "$WORK/zero" --minutes "$(minutes)" "$@" "${small[@]}"
}
part_zero() { zero --seeds 1; }
part_zero-seeds() { zero --seeds "2 3" --jobs 2; }
part_step() { SMALL=$SMALL bench/grpo_step.sh "$WORK/step"; }
part_learns() {
  local small=()
  ((SMALL == 0)) || small=(--small)
  MODEL=$MODEL bench/smollm2_learns.sh "$WORK/learns" --seeds "1 2 3" --jobs 3 --minutes "$(minutes)" "${small[@]}"
}
part_ppo() {
  local small=()
  ((SMALL == 0)) || small=(--steps 2 --prompts 2 --group 4)
  bench/grpo_vs_ppo.sh --device "$DEVICE" --jobs 5 --seconds $((LIMIT > 60 ? LIMIT - 30 : LIMIT)) "${small[@]}" "$WORK/ppo"
}
# share TITLE MODEL BAR AIM OPTIONS...: one sequence's decoding as a share of the bandwidth of a copy, in percent.
share() {
  "$R1" bench "$2" --random-weights --no-llama-cpp --device "$DEVICE" --depth 0 --batch 1 --repeat 3 --json "${@:5}" | python3 -c '
import json, sys
title, bar, aim = sys.argv[1], *map(float, sys.argv[2:])
row = next(r for r in json.load(sys.stdin)["results"] if r["kind"] == "decode")
share, rate = 100 * row["share_of_bandwidth"], row["tokens_per_s"]["median"]
verdict = "aim" if share >= aim else "bar" if share >= bar else "below the bar"
print(f"{title}: {rate:.1f} tok/s, {share:.0f} % of a copy (bar {bar:.0f}, aim {aim:.0f}): {verdict}")
' "$1" "$3" "$4"
}
part_decode() {
  local shape=$WORK/decode/qwen2-1.5b
  mkdir -p "$shape"
  if ((SMALL == 1)); then
    python3 bench/small_shape.py bench/shapes/qwen2-1.5b.json "$shape/config.json"
    share "a small shape, bf16" "$shape" 65 85 --numerics cpu-bf16
    return
  fi
  cp bench/shapes/qwen2-1.5b.json "$shape/config.json"
  share "1.54 B, bf16" "$shape" 65 85 --numerics cuda-bf16
  share "8 B, Q8_0" deepseek-ai/DeepSeek-R1-Distill-Llama-8B 65 85 --quantize Q8_0
  share "8 B, Q4_K_M" deepseek-ai/DeepSeek-R1-Distill-Llama-8B 50 75 --quantize Q4_K_M
  "$SAMPLER" --prompt 2048 --new 1 --repeat 5 "$shape/config.json:1" | awk '/^sampling/ {
    for (i = 1; i <= NF; i++) if ($i == "us") { s = $(i - 1) / 1e6; break }
    printf "prefill of 2,048 tokens, 1.54 B, with the first token: %.0f tok/s, ", 2048 / s
    printf "%.2f times llama.cpp (52 k; bar 1.2, aim 2)\n", 2048 / s / 52000}'
}
part_head() {
  if ((SMALL == 1)); then
    echo "left out: gpu_bench measures kernels of a GPU"
    return
  fi
  "$GPU_BENCH" --only "8192 x 1536 x 151936" | tee "$WORK/head.txt"
  awk '/^bf16 log-probs and entropy/ {whole = $(NF - 5)} /^bf16 head.s product/ {product = $(NF - 5)}
    END {if (whole && product) printf "log-prob and entropy take %.1f %% more than the product (bar 25, aim 5)\n",
      100 * (whole / product - 1)}' "$WORK/head.txt"
  "$GPU_BENCH" --products | grep -E '^limits|bf16 (y|dx|dW) 2048 '
}

settings() {
  DEVICE=$([[ $SMALL == 1 ]] && echo cpu || echo cuda)
  [[ -n ${BUILD:-} ]] || BUILD=$([[ -x runs/gpu-rows/pack/r1 ]] && echo runs/gpu-rows/pack || echo build)
  [[ ! -d $BUILD/evals ]] || export R1_TEST_DATA=${R1_TEST_DATA:-$PWD/$BUILD}
  export SMALL WORK DEVICE BUILD R1=$BUILD/r1 SAMPLER=$BUILD/gpu_sampling GPU_BENCH=$BUILD/gpu_bench
  if [[ -z ${MODEL:-} && -e runs/gpu-rows/model.gguf ]]; then
    export MODEL=runs/gpu-rows/model.gguf
  else
    export MODEL=${MODEL:-${R1_CACHE:-${HOME:-}/.cache/r1}/SmolLM2-135M-Instruct.Q4_1.gguf}
  fi
}

case ${1:-} in
  --list) printf '%s\n' "${parts[@]}" | tr : ' '; exit 0 ;;
  --pack) [[ $# -ge 2 ]] || usage; pack "${@:2}"; exit 0 ;;
  --unpack) [[ $# == 2 ]] || usage; unpack "$2"; exit 0 ;;
  --one) "part_$2"; exit ;;
  "" | -*) usage ;;
esac
out=$1 WORK=runs/gpu-rows SMALL=0 end=0 wanted=()
shift
while [[ $# -gt 0 ]]; do
  case $1 in
    --minutes) end=$(bench/end_time.sh "${2:?}"); shift 2 ;;
    --work) WORK=${2:?}; shift 2 ;;
    --small) SMALL=1; shift ;;
    -*) usage ;;
    *) limit_of "$1" >/dev/null; wanted+=("$1"); shift ;;
  esac
done
[[ ${#wanted[@]} -gt 0 ]] || wanted=("${parts[@]%:*}")
mkdir -p "$out" "$WORK/summary"
settings
commit=$(cat "$BUILD/commit" 2>/dev/null || git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
failed=0
for part in "${wanted[@]}"; do
  limit=$(limit_of "$part")
  if ((end > 0)); then
    left=$((end - $(date +%s)))
    ((left > 20)) || { echo "$part: left for another call: time is over"; continue; }
    ((limit <= left)) || limit=$left
  fi
  start=$SECONDS status=0
  LIMIT=$limit timeout --signal=INT --kill-after=15 "$limit" "$0" --one "$part" >"$out/$part.txt" 2>&1 || status=$?
  case $status in
    0) verdict=passed ;;
    124 | 137) verdict="FAILED: stopped after $limit s" ;;
    *) verdict="FAILED with status $status" ;;
  esac
  [[ $status == 0 ]] || failed=1
  {
    echo "== $part: $verdict, $((SECONDS - start)) s, $(date -u +%Y-%m-%dT%H:%MZ), commit $commit"
    case $part in  # the tables at the end
      peers-*) sed -n '/FAILED/p; /^row /,$p' "$out/$part.txt" ;;
      zero*) sed -n '/failed/p; /^seed  base/,$p' "$out/$part.txt" ;;
      *) tail -n 60 "$out/$part.txt" ;;
    esac
  } >"$WORK/summary/$part"
  head -n 1 "$WORK/summary/$part"
  for name in "${parts[@]%:*}"; do [[ ! -e $WORK/summary/$name ]] || cat "$WORK/summary/$name"; done >"$out/summary.txt"
done
exit $failed
