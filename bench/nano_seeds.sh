#!/usr/bin/env bash
# The nano recipe at seeds 1 to 5 (fixed beforehand): before, R1-Zero, after. Writes bench/results/DATE-r1-nano-seeds.jsonl: a row
# that says where and when, then a row a seed. Takes about five minutes a seed on two cores; resumes.
#   bench/nano_seeds.sh [threads]
set -euo pipefail
cd "$(dirname "$0")/.."
threads=${1:-$(nproc)}
out=bench/results/$(date +%F)-r1-nano-seeds.jsonl
printf '{"date": "%s", "commit": "%s", "machine": "%s, %s cores", "threads": %s}\n' "$(date +%F)" "$(git rev-parse --short HEAD)" \
  "$(lscpu | sed -n 's/^Model name: *//p')" "$(nproc)" "$threads" >"$out"
for seed in 1 2 3 4 5; do
  build/r1 recipe recipes/r1-nano.toml --seed "$seed" --out "runs/seeds/$seed" --threads "$threads" --resume --json >>"$out"
done
echo "$out"
