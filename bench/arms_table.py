#!/usr/bin/env python3
"""Prints the table of bench/arms_seeds.sh: every arm of the recipe per seed, 95 % t-intervals over seeds, and paired differences.

    bench/arms_table.py bench/results/DATE-arms-seeds.jsonl
"""
import json
import math
import statistics
import sys

ARMS = {"before": "base", "after": "R1-Zero", "cold-started": "cold start", "after-rl": "RL after the cold start",
        "after-reject": "rejection sampling, SFT from the base", "student": "student base", "distilled": "distilled student",
        "controlled": "control: RL on the student"}
PAIRS = [("cold-started", "after"), ("after-rl", "after"), ("after-rl", "cold-started"), ("after-reject", "after-rl"),
         ("after-reject", "after"), ("distilled", "controlled")]
STUDENT_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # two-sided 95 %, by the number of seeds


def interval(values):
    mean = statistics.mean(values)
    return mean, STUDENT_T[len(values)] * statistics.stdev(values) / math.sqrt(len(values))


def main():
    rows = [json.loads(line) for line in open(sys.argv[1])][1:]
    of = lambda arm, key: [row["stages"][arm]["result"][key] for row in rows]
    print("| arm | " + " | ".join(f"seed {row['seed']}" for row in rows) + " | mean (95 % interval) | truncated | thinking of right answers |")
    print("|---" * (len(rows) + 4) + "|")
    for arm, name in ARMS.items():
        mean, half = interval(of(arm, "pass_at_1"))
        print(f"| {name} | " + " | ".join(f"{v:.3f}" for v in of(arm, "pass_at_1")) +
              f" | {mean:.3f} ({mean - half:.3f} to {mean + half:.3f}) | {statistics.mean(of(arm, 'truncated')):.2f}"
              f" | {statistics.mean(of(arm, 'mean_thinking')):.1f} |")
    print()
    for a, b in PAIRS:
        differences = [x - y for x, y in zip(of(a, "pass_at_1"), of(b, "pass_at_1"))]
        mean, half = interval(differences)
        print(f"{ARMS[a]} - {ARMS[b]}: {mean:+.3f} (95 % interval {mean - half:+.3f} to {mean + half:+.3f} over {len(rows)} seeds)")


if __name__ == "__main__":
    main()
