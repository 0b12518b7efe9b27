#!/usr/bin/env bash
# Memory and time of `r1 score` on a published model's shape (random weights, 3.6 GB on disk), in bf16 and
# f32.
#   bench/score_shape.sh FOLDER [SHAPE]        FOLDER: the checkpoint is written there and kept
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1 shape=${2:-r1-distill-qwen-1.5b}
[ -e "$folder/model.safetensors" ] || python3 bench/make_shape.py "$shape" "$folder"
python3 - >"$folder/rows.jsonl" <<'P'
import json, random
draw = random.Random(2)
for length in (200, 120):
    print(json.dumps({"tokens": [draw.randrange(151936) for _ in range(length)]}))
P
echo "# $shape, rows of 200 and 120 tokens; $(date +%F), commit $(git rev-parse --short HEAD), $(lscpu | sed -n 's/^Model name: *//p'), $(nproc) cores"
for numerics in cpu-bf16 cpu-f32; do
  python3 - build/r1 score "$folder" --input "$folder/rows.jsonl" --numerics "$numerics" --logprobs "$folder/$numerics.jsonl" <<'P'
import resource, subprocess, sys, time
begin = time.time()
subprocess.run(sys.argv[1:], check=True)
most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
print(f"{sys.argv[sys.argv.index('--numerics') + 1]:9} most memory {most:.1f} GiB, {time.time() - begin:.0f} s with loading")
P
done
