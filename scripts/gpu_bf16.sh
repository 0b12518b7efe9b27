#!/usr/bin/env bash
# Trains r1-nano's base by reinforcement learning in cuda-bf16 on a GPU: 50 steps twice, and once more killed twice and resumed. The
# three must end with the same bytes, and sampler and trainer must never differ. Before that, doctor proves one forward. It takes
# about a minute and a half.
#   scripts/gpu_bf16.sh R1        from the repository's root; exit status 1 if anything differs
set -euo pipefail
[[ $# == 1 ]] || { echo "usage: scripts/gpu_bf16.sh R1" >&2; exit 2; }
r1=$1 config=recipes/r1-nano-zero.toml folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0

"$r1" doctor models/r1-nano --device cuda >"$folder/doctor" 2>&1 || failed=1
grep -E 'on cuda|FAIL' "$folder/doctor" || { cat "$folder/doctor"; failed=1; }

# train FOLDER OPTIONS...
train() {
  local out=$folder/$1
  shift
  "$r1" grpo "$config" --out "$out" --device cuda --set numerics=cuda-bf16 --set optimizer.steps=50 --set rollout.prompts=16 \
    --set checkpoint.every=5 --force "$@"
}
hash_of() { sha256sum <"$folder/$1/model/model.safetensors" | cut -d ' ' -f 1; }
# killed FOLDER SECONDS OPTIONS...: a run that is killed without warning after so many seconds.
killed() {
  local out=$folder/$1 seconds=$2 status=0
  shift 2
  { timeout -s KILL "$seconds" "$r1" grpo "$config" --out "$out" --device cuda --set numerics=cuda-bf16 --set optimizer.steps=50 \
    --set rollout.prompts=16 --set checkpoint.every=5 --force "$@" >>"$folder/log" 2>&1 || status=$?; } 2>/dev/null
  echo "  $([[ $status == 137 ]] && echo "killed after $seconds s" || echo "ended with status $status")"
}

start=$SECONDS
train once >"$folder/log" 2>&1 || { tail -n 5 "$folder/log"; exit 1; }
took=$((SECONDS - start))
echo "50 steps of GRPO in cuda-bf16: $took s, SHA-256 $(hash_of once)"
train twice >"$folder/log" 2>&1 || { tail -n 5 "$folder/log"; exit 1; }
: >"$folder/log"
killed killed $((took / 3 + 1))
killed killed $((took / 3 + 1)) --resume
train killed --resume >>"$folder/log" 2>&1 || { tail -n 5 "$folder/log"; exit 1; }
grep -ho 'resumed from .*' "$folder/log" | sed "s|$folder/|  |"
for run in twice killed; do
  if [[ $(hash_of "$run") == $(hash_of once) ]]; then
    echo "$run: the same bytes"
  else
    echo "$run: FAILED: SHA-256 $(hash_of "$run")"
    failed=1
  fi
done
# Every row of the metrics has a difference of exactly 0.
for run in once killed; do
  rows=$(wc -l <"$folder/$run/metrics.jsonl")
  zeros=$(grep -cE '"sampler_trainer_max_abs": ?0(\.0)?[,}]' "$folder/$run/metrics.jsonl" || true)
  echo "$run: sampler and trainer are equal in $zeros of $rows steps"
  [[ $zeros == "$rows" && $rows -ge 50 ]] || failed=1
done
echo "reward of the first and the last step: $(sed -n '1p;$p' "$folder/once/metrics.jsonl" | grep -oE '"reward": ?[^,]*' | tr '\n' ' ')"
exit $failed
