#!/usr/bin/env bash
# R1-Zero from scratch on a GPU: pre-trains the base of 10.7 M parameters, then trains it by GRPO (64 x 16 samples) until its accuracy on
# held-out problems has reached 0.80; the time of each part, and of the steps.
#   bench/zero_10m.sh OUT [SEED]        default: seed 1; OUT gets the runs
# R1 names the program (default: build/r1).
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $# -ge 1 ]] || { echo "usage: bench/zero_10m.sh OUT [SEED]" >&2; exit 2; }
out=$1 seed=${2:-1} r1=${R1:-build/r1}
mkdir -p "$out"
"$r1" pretrain recipes/zero-10m-base.toml --out "$out/base" --set "seed=$seed" >"$out/base.log" 2>&1 || { tail -n 5 "$out/base.log"; exit 1; }
echo "== pre-trained in $SECONDS s: $(tail -n 1 "$out/base/metrics.jsonl" | grep -oE '"loss": ?[0-9.]+')"
"$r1" grpo recipes/zero-10m.toml --out "$out/zero" --set "seed=$seed" --set "model=$out/base/model" >"$out/zero.log" 2>&1 ||
  { tail -n 5 "$out/zero.log"; exit 1; }
echo "== GRPO ended after $SECONDS s in all"
python3 - "$out/zero/metrics.jsonl" <<'END'
import json, statistics, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
print("step  accuracy  tokens/answer  seconds/step  held-out pass@1  seconds of GRPO")
held = lambda row: row.get("eval", {}).get("countdown", {}).get("pass_at_1", row.get("eval.countdown.pass_at_1"))
reached = next((r for r in rows if (held(r) or 0) >= 0.80), None)
for at in range(0, len(rows), 20):
    part = rows[at:at + 20]
    shown = next((held(r) for r in part[::-1] if held(r) is not None), float("nan"))
    print(f"{part[-1]['step']:4d}  {statistics.mean(r['accuracy'] for r in part):8.3f}  {statistics.mean(r['length'] for r in part):13.1f}  "
          f"{statistics.median(r['step_s'] for r in part):12.3f}  {shown:15.3f}  {part[-1]['wall_s']:15.1f}")
print(f"0.80 on held-out problems after {reached['wall_s']:.1f} s of GRPO, step {reached['step']}" if reached else "0.80 was not reached")
print("sampler and trainer are equal in", sum(r["sampler_trainer_max_abs"] == 0 for r in rows), "of", len(rows), "steps")
END
