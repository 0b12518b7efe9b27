#!/usr/bin/env bash
# A real model learns with r1: SmolLM2-135M-Instruct on GSM8K, fine-tuned on the training solutions, then trained by GRPO. Accuracy on
# test problems before, between and after; the time of each stage; and whether sampler and trainer ever differed. It needs a GPU.
#   bench/smollm2_learns.sh OUT [--seeds "1 2 3"] [--jobs N] [--minutes M] [--part PART] [--small] [-- OPTION of r1 grpo...]
# Default: seed 1. OUT gets a folder per seed; the same command goes on with what is there, also after a kill. --jobs runs so many seeds side
# by side on one GPU. After --minutes what runs is stopped and saved, and the table is printed with what is there. PART ends after a part:
# sft, or all (default). --small tries the script on a CPU: models/r1-nano-base, few problems, few steps.
# Reads evals/gsm8k_{train,test}.jsonl below R1_TEST_DATA (default: ../shared/data), and the model that scripts/fetch_smollm2.sh fetches
# or MODEL names. R1 names the program (default: build/r1), PROBLEMS the number of test problems (default: all 1,319).
# Exit status 1 if a run failed or a log-prob of the sampler was not the trainer's.
set -euo pipefail
cd "$(dirname "$0")/.."
usage() {
  echo "usage: bench/smollm2_learns.sh OUT [--seeds \"1 2 3\"] [--jobs N] [--minutes M] [--part sft|all] [--small] [-- OPTION...]" >&2
  exit 2
}
[[ $# -ge 1 && $1 != -* ]] || usage
out=$1 seeds=1 jobs=1 minutes=0 part=all small=0
shift
while [[ $# -gt 0 && $1 != -- ]]; do
  case $1 in
    --seeds) seeds=${2:?} ;;
    --jobs) jobs=${2:?} ;;
    --minutes) minutes=${2:?} ;;
    --part) part=${2:?} ;;
    --small) small=1 ;;
    *) usage ;;
  esac
  [[ $1 == --small ]] || shift
  shift
done
[[ $# -eq 0 ]] || shift
[[ $part == sft || $part == all ]] || usage
R1=${R1:-build/r1} data=${R1_TEST_DATA:-../shared/data}/evals problems=${PROBLEMS:-1319}
if [[ $small == 1 ]]; then
  model=models/r1-nano-base problems=${PROBLEMS:-8}
else
  model=${MODEL:-$(scripts/fetch_smollm2.sh)}
fi
for file in "$data"/gsm8k_{train,test}.jsonl "$model"; do
  [[ -e $file ]] || { echo "bench/smollm2_learns.sh: $file is missing" >&2; exit 2; }
done
mkdir -p "$out"
data=$(realpath "$data") model=$(realpath "$model") out=$(realpath "$out")
end=$(bench/end_time.sh "$minutes")
threads=$(($(nproc) / jobs > 1 ? $(nproc) / jobs : 1))
head -n "$problems" "$data/gsm8k_test.jsonl" >"$out/test.jsonl"
cp "$data/gsm8k_train.jsonl" "$out/train.jsonl"
[[ $small == 0 ]] || head -n 64 "$data/gsm8k_train.jsonl" >"$out/train.jsonl"
export R1 model out part small end threads

# evaluate SEED NAME MODEL: 4 samples of each test problem at temperature 0.7, as OUT/SEED/eval-NAME.json.
evaluate() {
  local result=$out/$1/eval-$2.json start=$SECONDS
  local -a where=(--device cuda --numerics cuda-bf16 --max-tokens 256)
  [[ $small == 0 ]] || where=(--device cpu --max-tokens 16)
  [[ ! -s $result ]] || return 0
  ((end == 0 || $(date +%s) < end)) || return 3
  "$R1" eval "$3" --task "$out/test.jsonl" --samples 4 --temperature 0.7 --seed "$1" --threads "$threads" --json "${where[@]}" \
    >"$result.part" 2>>"$out/$1/eval.log" || return 1
  mv "$result.part" "$result"
  echo "$((SECONDS - start))" >"${result%.json}.seconds"
}

# stages SEED OPTIONS...: what is finished is left as it is. Status 3: time is over.
stages() {
  local seed=$1 folder=$out/$1
  shift
  local -a both=(--resume --threads "$threads" --set "seed=$seed" --set "data.files=[\"$out/train.jsonl\"]") sft=() grpo=()
  if [[ $small == 1 ]]; then
    both+=(--device cpu --set numerics=cpu-f32)
    sft=(--set data.epochs=1 --set optimizer.warmup=2 --set data.max_tokens=1000 --set batch.tokens=4096 --set batch.micro=4096)
    grpo=(--set optimizer.steps=3 --set optimizer.warmup=1 --set rollout.prompts=2 --set rollout.group=4 --set rollout.max_tokens=16
      --set rollout.batch=8 --set batch.micro=2048 --force)
  fi
  evaluate "$seed" before "$model" || return
  bench/run_until.py --end "$end" -- "$R1" sft recipes/smollm2-gsm8k-sft.toml --out "$folder/sft" --set "model=$model" \
    "${both[@]}" "${sft[@]}" >>"$folder/sft.log" 2>&1 || return
  evaluate "$seed" sft "$folder/sft/model" || return
  [[ $part == all ]] || return 0
  bench/run_until.py --end "$end" -- "$R1" grpo recipes/smollm2-gsm8k.toml --out "$folder/grpo" --set "model=$folder/sft/model" \
    "${both[@]}" "${grpo[@]}" "$@" >>"$folder/grpo.log" 2>&1 || return
  evaluate "$seed" grpo "$folder/grpo/model" || return
}
one() {
  local status=0
  mkdir -p "$out/$1"
  stages "$@" || status=$?
  case $status in
    0) ;;
    3) echo "seed $1: time is over; the same command goes on" ;;
    *) echo "seed $1 failed with status $status: $(cat "$out/$1"/*.log | grep '^r1: ' | tail -n 1)"; return 1 ;;
  esac
}
export -f evaluate stages one
failed=0
tr ' ' '\n' <<<"$seeds" | grep . | xargs -P "$jobs" -I {} bash -uc 'one "$@"' _ {} "$@" || failed=1
python3 bench/smollm2_learns_table.py "$out" || failed=1
exit $failed
