#!/usr/bin/env bash
# Distillation against the same student trained by RL alone, at seeds 1 to 5 (fixed beforehand), the shipped r1-nano as the
# teacher. Writes bench/results/DATE-distill-seeds.jsonl (where and when; a row a seed) and prints a table with the tokens that
# each arm cost. A few minutes a seed on two cores; resumes.
#   bench/distill_seeds.sh [threads]
set -euo pipefail
cd "$(dirname "$0")/.."
threads=${1:-$(nproc)}
out=bench/results/$(date +%F)-distill-seeds.jsonl
printf '{"date": "%s", "commit": "%s", "machine": "%s, %s cores", "threads": %s}\n' "$(date +%F)" "$(git rev-parse --short HEAD)" \
  "$(lscpu | sed -n 's/^Model name: *//p')" "$(nproc)" "$threads" >"$out"
for seed in 1 2 3 4 5; do
  build/r1 recipe recipes/r1-nano-distill-control.toml --seed "$seed" --out "runs/distill-seeds/$seed" --threads "$threads" --resume \
    --json >>"$out"
done
python3 bench/distill_table.py "$out"
