#!/usr/bin/env bash
# GRPO against PPO with a critic, on the same base, problems, batch and number of steps, at seeds 1 to 5 (fixed
# beforehand): recipes/r1-nano-zero.toml, recipes/r1-nano-ppo.toml, and the latter with lambda = 0.95. Each run is
# evaluated on the same held-out problems. Prints the table of bench/grpo_vs_ppo_table.py.
#   bench/grpo_vs_ppo.sh [--steps N] [--prompts N] [--group N] [--device D] [--threads N] [--seconds S] [--seeds "1 2 3 4 5"] [--arms "grpo ppo ppo-0.95"]
#     [--jobs N] [FOLDER]
# Runs that exist are resumed; with --seconds, no more work is begun after that long, and the table has what is there. The device
# changes no bit (f32). A smaller batch (--prompts, --group) is quicker and noisier. With --jobs, so many seeds run side by side, on one
# GPU if need be: seconds per step are then not those of a run alone, accuracy and memory are. R1 names the program (default: build/r1).
set -euo pipefail
cd "$(dirname "$0")/.."
steps=60 prompts=32 group=16 device=cpu threads=0 seconds=0 seeds="1 2 3 4 5" arms="grpo ppo ppo-0.95" jobs=1 folder=runs/grpo_vs_ppo
while [ $# -gt 0 ]; do
  case $1 in
    --steps) steps=$2; shift 2 ;;
    --prompts) prompts=$2; shift 2 ;;
    --group) group=$2; shift 2 ;;
    --device) device=$2; shift 2 ;;
    --threads) threads=$2; shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
    --seeds) seeds=$2; shift 2 ;;
    --arms) arms=$2; shift 2 ;;
    --jobs) jobs=$2; shift 2 ;;
    -*) echo "grpo_vs_ppo: unknown option $1" >&2; exit 2 ;;
    *) folder=$1; shift ;;
  esac
done
for name in $arms; do
  case $name in
    grpo | ppo | ppo-0.95) ;;
    *) echo "grpo_vs_ppo: there is no arm $name: grpo, ppo and ppo-0.95 are known" >&2; exit 2 ;;
  esac
done
mkdir -p "$folder"
R1=${R1:-build/r1}
((threads > 0)) || threads=$(($(nproc) / jobs > 1 ? $(nproc) / jobs : 1))
warmup=$((steps < 5 ? steps : 5))
end=$((seconds > 0 ? $(date +%s) + seconds : 0))
export R1 steps prompts group device threads folder warmup end arms

# ARM SEED KIND RECIPE [flags]: one run and its evaluation.
arm() {
  local out=$folder/$1-$2 kind=$3 recipe=$4
  local -a set=(--set "seed=$2" --set "optimizer.steps=$steps" --set "optimizer.warmup=$warmup" --set log.samples_every=0
    --set "rollout.prompts=$prompts" --set "rollout.group=$group")
  [ "$kind" = grpo ] || set+=(--set "critic.warmup=$warmup")
  [ -s "$out.json" ] && return 0
  local status=0
  bench/run_until.py --end "$end" -- "$R1" "$kind" "$recipe" "${set[@]}" "${@:5}" --device "$device" --threads "$threads" --out "$out" \
    --resume --force >>"$out.log" 2>&1 || status=$?
  case $status in
    0) ;;
    3) return 0 ;;
    *) echo "$1, seed $2 failed with status $status: $(grep '^r1: ' "$out.log" | tail -n 1)"; return 1 ;;
  esac
  "$R1" eval "$out/model" --task countdown3 --problems 512 --samples 2 --max-tokens 112 --device "$device" --threads "$threads" --json \
    >"$out.tmp" 2>>"$out.log"
  mv "$out.tmp" "$out.json"
}
seed() {
  local failed=0 name
  for name in $arms; do
    case $name in
      grpo) arm grpo "$1" grpo recipes/r1-nano-zero.toml ;;
      ppo) arm ppo "$1" ppo recipes/r1-nano-ppo.toml ;;
      ppo-0.95) arm ppo-0.95 "$1" ppo recipes/r1-nano-ppo.toml --set critic.lambda=0.95 ;;
    esac || failed=1
  done
  return $failed
}
export -f arm seed
failed=0
tr ' ' '\n' <<<"$seeds" | grep . | xargs -P "$jobs" -I {} bash -euc 'seed "$1"' _ {} || failed=1
python3 bench/grpo_vs_ppo_table.py "$folder" || failed=1
exit $failed
