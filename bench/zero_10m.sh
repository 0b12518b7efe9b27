#!/usr/bin/env bash
# R1-Zero from scratch on a GPU: pre-trains the base of 10.7 M parameters, then trains it by GRPO (64 x 16 samples) until its accuracy on
# held-out problems has reached 0.80; the time of each part, and of the steps, per seed.
#   bench/zero_10m.sh OUT [--seeds "1 2 3"] [--jobs N] [--minutes M] [--reach 0.80] [--small]
# Default: seed 1. OUT gets a folder per seed; the same command goes on with what is there, also after a kill. --jobs runs so many seeds side
# by side on one GPU (their times are then not those of a seed alone). After --minutes what runs is stopped and saved (an evaluation ends
# first), and the table is printed with what is there. --small tries the script on a CPU in seconds: a tiny base, then a few steps from models/r1-nano-base.
# R1 names the program (default: build/r1). Exit status 1 if a run failed.
set -euo pipefail
cd "$(dirname "$0")/.."
usage() { echo "usage: bench/zero_10m.sh OUT [--seeds \"1 2 3\"] [--jobs N] [--minutes M] [--reach 0.80] [--small]" >&2; exit 2; }
[[ $# -ge 1 && $1 != -* ]] || usage
out=$1 seeds=1 jobs=1 minutes=0 reach=0.80 small=0
shift
while [[ $# -gt 0 ]]; do
  case $1 in
    --seeds) seeds=${2:?} ;;
    --jobs) jobs=${2:?} ;;
    --minutes) minutes=${2:?} ;;
    --reach) reach=${2:?} ;;
    --small) small=1 ;;
    *) usage ;;
  esac
  [[ $1 == --small ]] || shift
  shift
done
mkdir -p "$out"
end=$(bench/end_time.sh "$minutes")
R1=${R1:-build/r1} threads=$(($(nproc) / jobs > 1 ? $(nproc) / jobs : 1))
export R1 out reach small end threads

# one SEED: both parts; what is finished is left as it is.
one() {
  local seed=$1 folder=$out/$1 status=0
  local -a base=(--set "seed=$seed" --threads "$threads") zero
  mkdir -p "$folder"
  zero=("${base[@]}" --set "model=$folder/base/model")
  if [[ $small == 1 ]]; then
    base+=(--device cpu --set numerics=cpu-f32 --set model.config.hidden_size=64 --set model.config.num_hidden_layers=2
      --set model.config.num_attention_heads=2 --set model.config.num_key_value_heads=2 --set tokenizer.documents=200
      --set optimizer.steps=4 --set optimizer.warmup=2 --set batch.tokens=2048 --set batch.micro=2048)
    zero+=(--device cpu --set numerics=cpu-f32 --set model=r1-nano-base --set optimizer.steps=40 --set rollout.prompts=4
      --set rollout.group=4 --set rollout.max_tokens=112 --set rollout.batch=16 --set batch.micro=2048 --set checkpoint.every=2 --force)
  fi
  bench/run_until.py --end "$end" -- "$R1" pretrain recipes/zero-10m-base.toml --out "$folder/base" --resume "${base[@]}" \
    >>"$folder/base.log" 2>&1 &&
    bench/run_until.py --end "$end" --metrics "$folder/zero/metrics.jsonl" --key eval.countdown99.pass_at_1 --value "$reach" -- \
      "$R1" grpo recipes/zero-10m.toml --out "$folder/zero" --resume "${zero[@]}" >>"$folder/zero.log" 2>&1 || status=$?
  case $status in
    0 | 3) ;;
    *) echo "seed $seed failed with status $status: $(cat "$folder"/{base,zero}.log 2>/dev/null | grep '^r1: ' | tail -n 1)"; return 1 ;;
  esac
}
export -f one
failed=0
tr ' ' '\n' <<<"$seeds" | grep . | xargs -P "$jobs" -I {} bash -euc 'one "$@"' _ {} || failed=1
python3 bench/zero_10m_table.py "$out" "$reach"
exit $failed
