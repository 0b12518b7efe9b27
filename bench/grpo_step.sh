#!/usr/bin/env bash
# The time of a GRPO step of a published shape with random weights on a GPU: 8 problems x 8 answers, every answer NEW tokens long and
# with a reward of its own, so that all of them are trained on. Sampling, training and the update are the product's own (r1 grpo).
#   bench/grpo_step.sh OUT [NEW...]        default: 256 1024; OUT gets the model and the runs
# R1 names the program (default: build/r1), SHAPE the shape (default: qwen3-0.6b; see bench/make_shape.py), STEPS the steps (6).
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $# -ge 1 ]] || { echo "usage: bench/grpo_step.sh OUT [NEW...]" >&2; exit 2; }
mkdir -p "$1"
out=$(realpath "$1") r1=${R1:-build/r1} shape=${SHAPE:-qwen3-0.6b} steps=${STEPS:-6}
shift
[[ $# -gt 0 ]] || set -- 256 1024
[[ -e $out/model/model.safetensors ]] || python3 bench/make_shape.py "$shape" "$out/model"
cp models/r1-nano-base/tokenizer.json "$out/model/"
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
  cat >"$out/step.toml" <<END
name = "grpo-step"
seed = 1
model = "$out/model"
numerics = "cuda-bf16"
device = "cuda"
[data]
files = ["$out/problems.jsonl"]
[rollout]
prompts = 8
group = 8
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
  rm -rf "$out/run"
  "$r1" grpo "$out/step.toml" --out "$out/run" --force --set log.samples_every=100 >"$out/run.log" 2>&1 || { tail -n 5 "$out/run.log"; exit 1; }
  python3 - "$out/run/metrics.jsonl" "$new" <<'END'
import json, statistics, sys
rows = [json.loads(line) for line in open(sys.argv[1])][1:]
median = lambda key: statistics.median(r[key] for r in rows)
print(f"8 x 8, {sys.argv[2]} new tokens ({median('length'):.0f} on average): {median('step_s'):.3f} s per step, the median of {len(rows)} after the first: "
      f"sampling {median('sample_s'):.3f}, training {median('train_s'):.3f}, update {median('update_s'):.3f}, rewards {median('verify_s'):.3f}; "
      f"groups without signal {median('groups_without_signal'):.2f}; sampler and trainer differ by {max(r['sampler_trainer_max_abs'] for r in rows)}")
END
done
