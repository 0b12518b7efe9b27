#!/usr/bin/env bash
# Runs one recipe at seeds 1 to 5 (fixed beforehand), as many at a time as the cores allow. Writes
# bench/results/DATE-NAME.jsonl (a header row with place and time, then a row per seed) and prints its path.
# An interrupted run resumes. Used by bench/*_seeds.sh.
#   bench/seeds.sh NAME RUNS_FOLDER THREADS RECIPE [flags of r1 recipe]
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1 folder=$2 threads=$3 recipe=$4
shift 4
out=bench/results/$(date +%F)-$name.jsonl
printf '{"date": "%s", "commit": "%s", "machine": "%s, %s cores", "threads": %s}\n' "$(date +%F)" "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" \
  "$(lscpu | sed -n 's/^Model name: *//p')" "$(nproc)" "$threads" >"$out"
jobs=$(($(nproc) / threads > 1 ? $(nproc) / threads : 1))
seed() { build/r1 recipe "$1" --seed "$2" --out "$3/$2" --threads "$4" --resume --json "${@:5}" >"$3/$2.json"; }
export -f seed
mkdir -p "$folder"
printf '%s\n' 1 2 3 4 5 | xargs -P "$jobs" -I {} bash -c 'seed "$@"' _ "$recipe" {} "$folder" "$threads" "$@"
for seed in 1 2 3 4 5; do cat "$folder/$seed.json"; done >>"$out"
echo "$out"
