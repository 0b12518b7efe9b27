#!/usr/bin/env bash
# A real model learns with r1: SmolLM2-135M-Instruct on GSM8K, fine-tuned on the training solutions, then trained by GRPO. Accuracy on
# test problems before, between and after; the time of each stage; and whether sampler and trainer ever differed. It needs a GPU.
#   bench/smollm2_learns.sh OUT [SEED [OPTION of r1 grpo...]]       default: seed 1; OUT gets the runs
# Reads evals/gsm8k_{train,test}.jsonl below R1_TEST_DATA (default: ../shared/data), and the model that scripts/fetch_smollm2.sh fetches
# or MODEL names. R1 names the program (default: build/r1), PROBLEMS the number of test problems (default: all 1,319).
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $# -ge 1 ]] || { echo "usage: bench/smollm2_learns.sh OUT [SEED [OPTION...]]" >&2; exit 2; }
out=$1 seed=${2:-1}
shift $(($# < 2 ? $# : 2))
r1=${R1:-build/r1} data=${R1_TEST_DATA:-../shared/data}/evals problems=${PROBLEMS:-1319}
model=${MODEL:-$(scripts/fetch_smollm2.sh)}
for file in "$data"/gsm8k_{train,test}.jsonl "$model"; do
  [[ -e $file ]] || { echo "bench/smollm2_learns.sh: $file is missing" >&2; exit 2; }
done
mkdir -p "$out"
data=$(realpath "$data") model=$(realpath "$model") out=$(realpath "$out")
head -n "$problems" "$data/gsm8k_test.jsonl" >"$out/test.jsonl"

evaluate() {
  local start=$SECONDS
  echo "== $1: $problems test problems, 4 samples each, temperature 0.7"
  "$r1" eval "$2" --task "$out/test.jsonl" --samples 4 --temperature 0.7 --max-tokens 256 --seed "$seed" --device cuda \
    --numerics cuda-bf16 --threads 4 | sed "s|$out/||"
  echo "   in $((SECONDS - start)) s, $SECONDS s since the start"
}
evaluate "as it is" "$model"
start=$SECONDS
"$r1" sft recipes/smollm2-gsm8k-sft.toml --out "$out/sft" --set "model=$model" --set "seed=$seed" \
  --set "data.files=[\"$data/gsm8k_train.jsonl\"]" >"$out/sft.log" 2>&1 || { tail -n 5 "$out/sft.log"; exit 1; }
echo "== fine-tuned: 4 epochs in $((SECONDS - start)) s, $SECONDS s since the start"
evaluate "after fine-tuning" "$out/sft/model"
start=$SECONDS
"$r1" grpo recipes/smollm2-gsm8k.toml --out "$out/grpo" --set "model=$out/sft/model" --set "seed=$seed" \
  --set "data.files=[\"$data/gsm8k_train.jsonl\"]" "$@" >"$out/grpo.log" 2>&1 || { tail -n 5 "$out/grpo.log"; exit 1; }
rows=$(wc -l <"$out/grpo/metrics.jsonl")
zeros=$(grep -cE '"sampler_trainer_max_abs": ?0(\.0)?[,}]' "$out/grpo/metrics.jsonl" || true)
echo "== GRPO: $rows steps in $((SECONDS - start)) s, $SECONDS s since the start; sampler and trainer are equal in $zeros of $rows"
evaluate "after GRPO" "$out/grpo/model"
[[ $zeros == "$rows" ]]
