#!/usr/bin/env bash
# Trains r1-nano on a GPU and compares the result with the shipped weights, which a CPU has made. Then does it once more, killed three
# times and resumed each time on the other device. It takes about a minute and a half.
#   scripts/gpu_recipe.sh R1        from the repository's root; exit status 1 if any byte differs
set -euo pipefail
[[ $# == 1 ]] || { echo "usage: scripts/gpu_recipe.sh R1" >&2; exit 2; }
r1=$1 recipe=recipes/r1-nano.toml folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
want=$(sha256sum <models/r1-nano/model.safetensors)
failed=0

compare() {
  local got
  got=$(sha256sum <"$1/zero/model/model.safetensors")
  if [[ $got == "$want" ]]; then
    echo "$2: the bytes of models/r1-nano, SHA-256 ${got%% *}"
  else
    echo "$2: FAILED: SHA-256 ${got%% *}, models/r1-nano has ${want%% *}"
    failed=1
  fi
}

# killed SECONDS OPTIONS...: a run that is killed without warning after so many seconds.
killed() {
  local seconds=$1 status=0
  shift
  # The group keeps the shell's own word on the killed program out of the log.
  { timeout -s KILL "$seconds" "$r1" recipe "$recipe" --out "$folder/killed" "$@" >>"$folder/log" 2>&1 || status=$?; } 2>/dev/null
  echo "  ${*:-CPU}: $([[ $status == 137 ]] && echo "killed after $seconds s" || echo "ended with status $status")"
}

start=$SECONDS
"$r1" recipe "$recipe" --out "$folder/whole" --device cuda >"$folder/log" 2>&1 || { tail -n 3 "$folder/log"; exit 1; }
echo "the whole recipe on the GPU: $((SECONDS - start)) s"
compare "$folder/whole" "on the GPU"
killed 14 --threads 2
killed 9 --resume --device cuda
killed 12 --resume --threads 4
"$r1" recipe "$recipe" --out "$folder/killed" --resume --device cuda >>"$folder/log" 2>&1
grep -ho 'resumed from .*' "$folder/log" | sed "s|$folder/|  |"
compare "$folder/killed" "killed on CPU, GPU and CPU, ended on the GPU"
exit $failed
