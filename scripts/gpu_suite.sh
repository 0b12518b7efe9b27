#!/usr/bin/env bash
# Runs the GPU suite: the kernels against the CPU's bits, which tensor-core products agree, the kernels' speed beside the device's
# limits, a recipe whose result must be the shipped model, and GRPO in cuda-bf16, twice and across kills. It takes five minutes on
# one GPU, and never more than twelve.
# ./test --gpu builds the programs and calls it.
#   scripts/gpu_suite.sh BUILD OUT          runs the programs in BUILD; OUT/gpu-suite.txt is the log, OUT/gpu-bench.json the times
#   scripts/gpu_suite.sh --pack BUILD DIR   copies what a bare machine needs to DIR: the programs, their libraries and this script
set -euo pipefail

programs=(gpu_test gpu_bits_test gpu_bench r1)
commit_of() { git -C "$1" describe --always --dirty --abbrev=12 2>/dev/null || echo unknown; }

if [[ ${1:-} == --pack ]]; then
  [[ $# == 3 ]] || { echo "usage: scripts/gpu_suite.sh --pack BUILD DIR" >&2; exit 2; }
  here=$(dirname "${BASH_SOURCE[0]}")
  "$here/pack_programs.sh" "$2" "$3" "${programs[@]}"
  cp "$here"/gpu_{suite,recipe,bf16}.sh "$3/"
  du -sh "$3" >&2
  exit 0
fi

[[ $# == 2 ]] || { echo "usage: scripts/gpu_suite.sh BUILD OUT, or --pack BUILD DIR" >&2; exit 2; }
build=$1 out=$2
mkdir -p "$out"
log=$out/gpu-suite.txt
commit=$(cat "$build/commit" 2>/dev/null || commit_of "$build")
failed=0 summary=()

# Runs one program into the log and keeps a line for the end. Status 77 means that this GPU has not what the program tests.
run() {
  local name=$1 status=0 start=$SECONDS
  shift
  echo "== $name" >>"$log"
  timeout 150 "$build/$name" "$@" >>"$log" 2>&1 || status=$?
  local verdict="passed"
  case $status in
    0) ;;
    77) verdict="SKIPPED: $(tail -n 1 "$log")" ;;
    124) verdict="FAILED: no end after 150 s" failed=1 ;;
    *) verdict="FAILED with status $status" failed=1 ;;
  esac
  summary+=("$(printf '%-14s %4d s  %s' "$name" $((SECONDS - start)) "$verdict")")
}

{
  echo "GPU suite, $(date -u +%Y-%m-%dT%H:%MZ), commit $commit"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || echo "nvidia-smi says nothing"
} | tee "$log"
run gpu_test
run gpu_bits_test
run gpu_bench --json "$out/gpu-bench.json"
# These need the shipped models and the recipes, which lie in the current folder.
for name in recipe bf16; do
  script=$build/gpu_$name.sh
  [[ -x $script ]] || script=$(dirname "${BASH_SOURCE[0]}")/gpu_$name.sh
  echo "== $name" >>"$log"
  if [[ -d models/r1-nano && -d recipes ]]; then
    status=0
    timeout 300 "$script" "$build/r1" >>"$log" 2>&1 || status=$?
    summary+=("$(printf '%-14s %s' "$name" "$([[ $status == 0 ]] && echo passed || echo "FAILED with status $status")")")
    ((status == 0)) || failed=1
  else
    summary+=("$(printf '%-14s %s' "$name" "SKIPPED: models/r1-nano and recipes are not in the current folder")")
  fi
done

{
  echo "== summary"
  sed -n '/^== gpu_bits_test/,/^== gpu_bench/p' "$log" | grep -E 'DIFFERENT|FAILED|SKIPPED|every claim' || true
  grep -E '^\[  (PASSED|SKIPPED) .* tests?[.,]|^\[  FAILED  ' "$log" | sort -u || true
  sed -n '/^== gpu_bench/,/^== recipe/p' "$log" | grep -E '^limits|^kernel|%' || true
  sed -n '/^== recipe/,$p' "$log" | tail -n +2
  printf '%s\n' "${summary[@]}"
} >"$log.end"
cat "$log.end" >>"$log"
cat "$log.end"
rm "$log.end"
exit $failed
