#!/usr/bin/env bash
# Compares distillation with the same student trained by RL alone, at seeds 1 to 5 (fixed beforehand), with
# the shipped r1-nano as the teacher. Writes bench/results/DATE-distill-seeds.jsonl (a header with place and
# time, then a row per seed) and prints a table with the tokens that each arm cost. A few minutes per seed on
# two cores. An interrupted run resumes.
#   bench/distill_seeds.sh [threads]
set -euo pipefail
cd "$(dirname "$0")/.."
python3 bench/distill_table.py "$(bench/seeds.sh distill-seeds runs/distill-seeds "${1:-$(nproc)}" recipes/r1-nano-distill-control.toml)"
