#!/usr/bin/env bash
# The time of a GRPO step of a published shape with random weights on a GPU: 8 problems x 8 answers, every answer NEW tokens long and
# with a reward of its own, so that all of them are trained on. Sampling, training and the update are the product's own (r1 grpo).
#   bench/grpo_step.sh OUT [NEW...]        default: 256 1024; OUT gets the model and the runs
# A run that OUT has goes on; one that is finished is only shown. RL.cu, a trainer in CUDA, takes 1.94 and 10.9 s for these steps.
# R1 names the program (default: build/r1), SHAPE the shape (default: qwen3-0.6b; see bench/make_shape.py), STEPS the steps (6).
# SMALL=1 tries the script on a CPU: models/r1-nano-base, 2 problems x 4 answers, 16 new tokens.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $# -ge 1 ]] || { echo "usage: bench/grpo_step.sh OUT [NEW...]" >&2; exit 2; }
mkdir -p "$1"
out=$(realpath "$1") r1=${R1:-build/r1} shape=${SHAPE:-qwen3-0.6b} steps=${STEPS:-6}
shift
numerics=cuda-bf16 device=cuda prompts=8 group=8
if [[ ${SMALL:-0} == 1 ]]; then
  numerics=cpu-f32 device=cpu prompts=2 group=4
  [[ $# -gt 0 ]] || set -- 16
  mkdir -p "$out/model"
  cp models/r1-nano-base/* "$out/model/"
else
  [[ $# -gt 0 ]] || set -- 256 1024
  [[ -e $out/model/model.safetensors ]] || { rm -rf "$out/part" && python3 bench/make_shape.py "$shape" "$out/part" && mv "$out/part" "$out/model"; }
  cp models/r1-nano-base/tokenizer.json "$out/model/"
fi
cat >"$out/reward.py" <<'END'
import hashlib, json, sys
for line in sys.stdin:
    row = json.loads(line)
    digest = hashlib.sha256(repr(row["tokens"]).encode() + row["response"].encode()).digest()
    print(json.dumps({"id": row["id"], "score": digest[0] / 255, "correct": digest[0] > 127}), flush=True)
END
python3 - >"$out/problems.jsonl" <<'END'
import json
for i in range(64):
    print(json.dumps({"question": f"make {i + 10} from {i % 7 + 1} {i % 11 + 2} {i % 13 + 3}", "answer": str(i)}))
END
for new in "$@"; do
  cat >"$out/step-$new.toml" <<END
name = "grpo-step"
seed = 1
model = "$out/model"
numerics = "$numerics"
device = "$device"
[data]
files = ["$out/problems.jsonl"]
[rollout]
prompts = $prompts
group = $group
max_tokens = $new
temperature = 1.0
[reward]
accuracy = 0.0
[[reward.program]]
name = "hash"
command = ["python3", "reward.py"]
truncated = true
[optimizer]
lr = 1e-6
steps = $steps
warmup = 0
[batch]
micro = 32768
END
  run=$out/run-$new
  "$r1" grpo "$out/step-$new.toml" --out "$run" --resume --force --set log.samples_every=100 >"$run.log" 2>&1 || { grep '^r1: ' "$run.log" >&2; exit 1; }
  python3 - "$run/metrics.jsonl" "$new" "$prompts x $group" "$device $shape" <<'END'
import json, statistics, sys
path, new, batch, kind = sys.argv[1:]
rows = [json.loads(line) for line in open(path)][1:]
if not rows:
    sys.exit(f"bench/grpo_step.sh: {path} has no step after the first")
median = lambda key: statistics.median(r[key] for r in rows)
peer = {"256": 1.94, "1024": 10.9}.get(new) if kind == "cuda qwen3-0.6b" else None
print(f"{batch}, {new} new tokens ({median('length'):.0f} on average): {median('step_s'):.3f} s per step, the median of {len(rows)} after the first: "
      f"sampling {median('sample_s'):.3f}, training {median('train_s'):.3f}, update {median('update_s'):.3f}, rewards {median('verify_s'):.3f}; "
      f"groups without signal {median('groups_without_signal'):.2f}; sampler and trainer differ by {max(r['sampler_trainer_max_abs'] for r in rows)}"
      + (f"; RL.cu takes {peer / median('step_s'):.2f} times as long (bar 2, aim 5)" if peer else ""))
END
done
