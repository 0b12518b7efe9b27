#!/usr/bin/env python3
"""Prints the table of bench/distill_seeds.sh: per seed both arms and their tokens, then their difference with its 95 % interval.

    bench/distill_table.py bench/results/DATE-distill-seeds.jsonl
"""
import json
import math
import statistics
import sys

rows = [json.loads(line) for line in open(sys.argv[1])][1:]
student_t = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # two-sided 95 %, by the number of seeds
differences = []
print("seed  student  distilled (interval)     RL alone (interval)      M tokens: distil, with its teacher; RL")
for row in rows:
    stages = row["stages"]
    arm = lambda name: stages[name]["result"]
    shown = lambda r: f"{r['pass_at_1']:.3f} ({r['low']:.3f} to {r['high']:.3f})"
    cost = stages["distill"]["tokens"]
    rl = stages["control"]["tokens"]
    differences.append(arm("distilled")["pass_at_1"] - arm("controlled")["pass_at_1"])
    print(f"{row['seed']:4}  {arm('student')['pass_at_1']:.3f}    {shown(arm('distilled'))}   {shown(arm('controlled'))}   "
          f"{cost['trained'] / 1e6:.2f}, {(cost['trained'] + cost['teacher_sampled']) / 1e6:.2f}; {(rl['trained'] + rl['sampled']) / 1e6:.2f}")
if len(differences) > 1:
    mean = statistics.mean(differences)
    half = student_t[len(differences)] * statistics.stdev(differences) / math.sqrt(len(differences))
    print(f"distilled - RL alone: {mean:+.3f}, 95 % interval {mean - half:+.3f} to {mean + half:+.3f} over {len(differences)} seeds")
