#!/usr/bin/env bash
# GRPO against PPO with a critic, on the same base, problems, batch and number of steps, at seeds 1 to 5 (fixed
# beforehand): recipes/r1-nano-zero.toml, recipes/r1-nano-ppo.toml, and the latter with lambda = 0.95. Each run is
# evaluated on the same held-out problems. Prints the table of bench/grpo_vs_ppo_table.py.
#   bench/grpo_vs_ppo.sh [--steps N] [--prompts N] [--group N] [--device D] [--threads N] [--seconds S] [--seeds "1 2 3 4 5"] [FOLDER]
# Runs that exist are resumed; with --seconds, no more work is begun after that long, and the table has what is there. The device
# changes no bit (f32). A smaller batch (--prompts, --group) is quicker and noisier.
set -euo pipefail
cd "$(dirname "$0")/.."
steps=60 prompts=32 group=16 device=cpu threads=$(nproc) seconds=0 seeds="1 2 3 4 5" folder=runs/grpo_vs_ppo
while [ $# -gt 0 ]; do
  case $1 in
    --steps) steps=$2; shift 2 ;;
    --prompts) prompts=$2; shift 2 ;;
    --group) group=$2; shift 2 ;;
    --device) device=$2; shift 2 ;;
    --threads) threads=$2; shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
    --seeds) seeds=$2; shift 2 ;;
    -*) echo "grpo_vs_ppo: unknown option $1" >&2; exit 2 ;;
    *) folder=$1; shift ;;
  esac
done
mkdir -p "$folder"
warmup=$((steps < 5 ? steps : 5))
end=$((seconds > 0 ? $(date +%s) + seconds : 0))

left() { [ "$end" = 0 ] && echo 86400 || echo $((end - $(date +%s))); }
# ARM SEED KIND RECIPE [flags]: one run and its evaluation.
arm() {
  local out=$folder/$1-$2 kind=$3 recipe=$4
  local -a set=(--set "seed=$2" --set "optimizer.steps=$steps" --set "optimizer.warmup=$warmup" --set log.samples_every=0
    --set "rollout.prompts=$prompts" --set "rollout.group=$group")
  [ "$kind" = grpo ] || set+=(--set "critic.warmup=$warmup")
  [ -s "$out.json" ] && return 0
  [ "$(left)" -le 2 ] && return 0
  timeout --signal=INT "$(left)" build/r1 "$kind" "$recipe" "${set[@]}" "${@:5}" --device "$device" --threads "$threads" --out "$out" --resume --force 2>"$out.log" || return 0
  build/r1 eval "$out/model" --task countdown3 --problems 512 --samples 2 --max-tokens 112 --device "$device" --threads "$threads" --json >"$out.tmp" 2>>"$out.log"
  mv "$out.tmp" "$out.json"
}
for seed in $seeds; do
  arm grpo "$seed" grpo recipes/r1-nano-zero.toml
  arm ppo "$seed" ppo recipes/r1-nano-ppo.toml
  arm ppo-0.95 "$seed" ppo recipes/r1-nano-ppo.toml --set critic.lambda=0.95
done
python3 bench/grpo_vs_ppo_table.py "$folder"
