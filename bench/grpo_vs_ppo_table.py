#!/usr/bin/env python3
"""The runs of bench/grpo_vs_ppo.sh as a table: a row per arm, means over its finished seeds with the deviation between them.

    python3 bench/grpo_vs_ppo_table.py FOLDER

  pass@1     on 512 held-out problems with 2 samples each, after the last step
  accuracy   of the last ten steps' own samples
  step       seconds: of sampling, verdicts and the policy's forward and backward; of the critic; in all
  state      MiB of weights, gradients, optimizer and kernels' copies: the policy's, the critic's
  peak       MiB of the process in the machine's own memory, measured; and all that was estimated. On a GPU, weights, activations and
             keys and values are in its memory: `device` is state, activations and kv together, 0 on a CPU
"""
import collections
import json
import pathlib
import statistics
import sys

CRITIC = ("value_s", "critic_train_s", "critic_update_s")


def run_of(path):
    directory = path.parent / path.stem
    rows = [json.loads(line) for line in open(directory / "metrics.jsonl")]
    memory = json.loads((directory / "run.json").read_text())["memory_mib"]
    last = rows[-10:]
    return {
        "steps": rows[-1]["step"],
        "pass@1": json.loads(path.read_text())["pass_at_1"],
        "accuracy": statistics.mean(row["accuracy"] for row in last),
        "explained": statistics.mean(row["explained_variance"] for row in last) if "explained_variance" in last[0] else float("nan"),
        "critic_s": statistics.mean(sum(row.get(key, 0) for key in CRITIC) for row in rows),
        "step_s": statistics.mean(row["step_s"] for row in rows),
        "policy": sum(memory[key] for key in ("weights", "gradients", "optimizer", "packed")),
        "critic": memory.get("critic", 0.0),
        "activations": memory["measured_activations"],
        "kv": memory["measured_kv"],
        "peak": memory["measured_resident"],
        "device": sum(memory.get(key, 0.0) for key in ("weights", "gradients", "optimizer", "packed", "critic", "measured_activations", "measured_kv"))
        if json.loads((directory / "run.json").read_text())["settings"]["device"] == "cuda" else 0.0,
        "estimate": memory["total"],
        "exact": max(row["sampler_trainer_max_abs"] for row in rows) == 0,
    }


def shown(values, digits):
    spread = f" +- {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    arms = collections.defaultdict(list)
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
        arms[path.stem.rsplit("-", 1)[0]].append(run_of(path))
    if not arms:
        sys.exit(f"grpo_vs_ppo_table: {sys.argv[1]}: no run is finished")
    print(f"{'arm':<9} seeds steps  {'pass@1':<17} {'accuracy':<17} explained  critic s  step s  policy  critic  activations     kv    peak  device  estimate  exact")
    for arm in sorted(arms):
        runs = arms[arm]
        of = lambda key: [run[key] for run in runs]
        print(f"{arm:<9} {len(runs):>5} {runs[0]['steps']:>5}  {shown(of('pass@1'), 3):<17} {shown(of('accuracy'), 3):<17} "
              f"{statistics.mean(of('explained')):>9.3f} {statistics.mean(of('critic_s')):>9.3f} {statistics.mean(of('step_s')):>7.3f} "
              f"{statistics.mean(of('policy')):>7.1f} {statistics.mean(of('critic')):>7.1f} {statistics.mean(of('activations')):>12.1f} "
              f"{statistics.mean(of('kv')):>6.1f} {statistics.mean(of('peak')):>7.1f} {statistics.mean(of('device')):>7.1f} {statistics.mean(of('estimate')):>9.1f}  {'yes' if all(of('exact')) else 'no'}")


if __name__ == "__main__":
    main()
