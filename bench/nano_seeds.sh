#!/usr/bin/env bash
# The nano recipe at seeds 1 to 5 (fixed beforehand): before, R1-Zero, after. Writes
# bench/results/DATE-r1-nano-seeds.jsonl: a header row with place and time, then a row per seed. Takes about
# five minutes per seed on two cores. An interrupted run resumes.
#   bench/nano_seeds.sh [threads]
set -euo pipefail
cd "$(dirname "$0")/.."
exec bench/seeds.sh r1-nano-seeds runs/seeds "${1:-$(nproc)}" recipes/r1-nano.toml
