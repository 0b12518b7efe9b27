#!/usr/bin/env bash
# The whole recipe (./run --all) at seeds 1 to 5 (fixed beforehand): every arm's pass@1. Writes
# bench/results/DATE-arms-seeds.jsonl (a header with place and time, then a row per seed) and prints the
# table. About twenty minutes per seed on two cores. An interrupted run resumes.
#   bench/arms_seeds.sh [threads]
set -euo pipefail
cd "$(dirname "$0")/.."
python3 bench/arms_table.py "$(bench/seeds.sh arms-seeds runs/arms "${1:-$(nproc)}" recipes/r1-nano.toml --all)"
