#!/usr/bin/env bash
# SmolLM2-135M-Instruct on problems of GSM8K's test set: accuracy with its interval, and tokens per second.
#   bench/smollm2_gsm8k.sh [PROBLEMS [SAMPLES [OPTION of r1 eval...]]]     default: 128 problems, 4 samples of each
# Reads evals/gsm8k_test.jsonl below R1_TEST_DATA (default: ../shared/data); the model is fetched once.
set -euo pipefail
cd "$(dirname "$0")/.."
problems=${1:-128} samples=${2:-4}
shift $(($# < 2 ? $# : 2))
data=${R1_TEST_DATA:-../shared/data}/evals/gsm8k_test.jsonl
[[ -e $data ]] || { echo "bench/smollm2_gsm8k.sh: $data is missing" >&2; exit 2; }
model=$(scripts/fetch_smollm2.sh)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
head -n "$problems" "$data" >"$work/gsm8k.jsonl"
echo "# $(basename "$model"), the first $problems problems of GSM8K test, $samples samples each ${*:+($*)}"
echo "# date $(date -u +%FT%TZ), commit $(git rev-parse --short HEAD), $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)"
build/r1 eval "$model" --task "$work/gsm8k.jsonl" --samples "$samples" --temperature 0.2 --top-p 0.9 --max-tokens 512 --seed 1 "$@" |
  sed "s|$work/||; s|$(dirname "$model")/||"
