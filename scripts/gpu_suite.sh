#!/usr/bin/env bash
# Runs the GPU suite: the kernels against the CPU's bits, which tensor-core products agree, the kernels' speed beside the device's
# limits, a recipe whose result must be the shipped model, and GRPO in cuda-bf16, twice and across kills. The tests run in five processes
# side by side, beside the recipe and GRPO. It takes three minutes on one GPU, and never more than ten.
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
[[ ! -d $build/lib ]] || export LD_LIBRARY_PATH=$build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}  # of a pack
failed=0 summary=()
declare -A child_of=()

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
# begin NAME COMMAND...: in the background, with a log of its own, which ended() waits for and adds to the whole log.
begin() {
  local name=$1
  shift
  timeout 300 "$@" >"$log.$name" 2>&1 &
  child_of[$name]=$!
}
ended() {
  local status=0
  wait "${child_of[$1]}" || status=$?
  { echo "== $1" && cat "$log.$1"; } >>"$log"
  rm "$log.$1"
  ((status == 0)) || failed=1
  summary+=("$(printf '%-14s %4d s  %s' "$1" $SECONDS "$([[ $status == 0 ]] && echo passed || echo "FAILED with status $status")")")
}

# The tests in several processes, beside the recipe and GRPO, which need the shipped models and the recipes of the current folder.
shards=5 beside=()
if [[ -d models/r1-nano && -d recipes ]]; then
  for name in recipe bf16; do
    script=$build/gpu_$name.sh
    [[ -x $script ]] || script=$(dirname "${BASH_SOURCE[0]}")/gpu_$name.sh
    begin $name "$script" "$build/r1"
    beside+=("$name")
  done
else
  summary+=("recipe, bf16    SKIPPED: models/r1-nano and recipes are not in the current folder")
fi
for ((shard = 0; shard < shards; shard++)); do
  begin "gpu_test.$shard" env GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard "$build/gpu_test"
done
for ((shard = 0; shard < shards; shard++)); do ended "gpu_test.$shard"; done
for name in ${beside[@]+"${beside[@]}"}; do ended "$name"; done
run gpu_bits_test
run gpu_bench --json "$out/gpu-bench.json"

{
  echo "== summary"
  sed -n '/^== gpu_bits_test/,/^== gpu_bench/p' "$log" | grep -E 'DIFFERENT|FAILED|SKIPPED|every claim' || true
  grep -E '^\[  (PASSED|SKIPPED) .* tests?[.,]|^\[  FAILED  ' "$log" | sort -u || true
  sed -n '/^== gpu_bench/,$p' "$log" | grep -E '^limits|^kernel|%' || true
  sed -n '/^== recipe/,/^== gpu_bits_test/p' "$log" | grep -v '^== gpu_bits_test' || true
  printf '%s\n' "${summary[@]}"
} >"$log.end"
cat "$log.end" >>"$log"
cat "$log.end"
rm "$log.end"
exit $failed
