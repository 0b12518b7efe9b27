#!/usr/bin/env bash
# One recipe at seeds 1 to 5 (fixed beforehand): writes bench/results/DATE-NAME.jsonl, a row that says where and when, then a row a seed,
# and prints its path. Resumes. What bench/*_seeds.sh share.
#   bench/seeds.sh NAME RUNS_FOLDER THREADS RECIPE [flags of r1 recipe]
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1 folder=$2 threads=$3 recipe=$4
shift 4
out=bench/results/$(date +%F)-$name.jsonl
printf '{"date": "%s", "commit": "%s", "machine": "%s, %s cores", "threads": %s}\n' "$(date +%F)" "$(git rev-parse --short HEAD)" \
  "$(lscpu | sed -n 's/^Model name: *//p')" "$(nproc)" "$threads" >"$out"
for seed in 1 2 3 4 5; do
  build/r1 recipe "$recipe" --seed "$seed" --out "$folder/$seed" --threads "$threads" --resume --json "$@" >>"$out"
done
echo "$out"
