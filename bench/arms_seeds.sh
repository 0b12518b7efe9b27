#!/usr/bin/env bash
# The whole recipe (./run --all) at seeds 1 to 5 (fixed beforehand): every arm's pass@1. Writes bench/results/DATE-arms-seeds.jsonl
# (where and when; a row a seed) and prints the table. About twenty minutes a seed on two cores; resumes.
#   bench/arms_seeds.sh [threads]
set -euo pipefail
cd "$(dirname "$0")/.."
threads=${1:-$(nproc)}
out=bench/results/$(date +%F)-arms-seeds.jsonl
printf '{"date": "%s", "commit": "%s", "machine": "%s, %s cores", "threads": %s}\n' "$(date +%F)" "$(git rev-parse --short HEAD)" \
  "$(lscpu | sed -n 's/^Model name: *//p')" "$(nproc)" "$threads" >"$out"
for seed in 1 2 3 4 5; do
  build/r1 recipe recipes/r1-nano.toml --all --seed "$seed" --out "runs/arms/$seed" --threads "$threads" --resume --json >>"$out"
done
python3 bench/arms_table.py "$out"
