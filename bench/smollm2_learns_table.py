#!/usr/bin/env python3
"""The runs of bench/smollm2_learns.sh as a table, a row per seed.

    python3 bench/smollm2_learns_table.py OUT

  before, sft, grpo  pass@1 on the test problems with a 95 % interval: as the model is, after fine-tuning, after GRPO
  seconds            of fine-tuning's and of GRPO's steps, and of everything with the evaluations
  step               median seconds of a step of GRPO, of its sampling and of its training
  MiB                GRPO's weights, gradients, optimizer, copies, activations and keys and values; the last two measured
The peer (PyTorch with CUDA graphs) takes 4.1 s of sampling and 1.0 to 1.7 s of training per step, with 94 GiB; the bar is twice as fast.
The exit status is 1 if sampler and trainer ever differed.
"""
import json
import pathlib
import statistics
import sys

NONE = float("nan")
PEER_STEP = 5.4  # seconds: sampling 4.1, training 1.0 to 1.7


def rows_of(path):
    return [json.loads(line) for line in open(path) if line.endswith("\n")] if path.exists() else []


def accuracy(path):
    if not path.exists():
        return "-", NONE
    result = json.loads(path.read_text())
    seconds = float(path.with_suffix(".seconds").read_text()) if path.with_suffix(".seconds").exists() else NONE
    return f"{100 * result['pass_at_1']:.1f} ({100 * result['low']:.1f} to {100 * result['high']:.1f})", seconds


def memory_of(run):
    """MiB, or NaN while the run has not ended: what was measured is written at its end."""
    memory = json.loads(run.read_text()).get("memory_mib", {}) if run.exists() else {}
    keys = ("weights", "gradients", "optimizer", "packed", "measured_activations", "measured_kv")
    return sum(memory[key] for key in keys) if all(key in memory for key in keys) else NONE


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out, differed, after = pathlib.Path(sys.argv[1]), False, []
    print(f"{'seed':>4}  {'before, %':<18} {'sft, %':<18} {'grpo, %':<18} {'sft s':>6} {'grpo s':>7} {'all s':>6}  {'step s':>6} {'sampling':>8} "
          f"{'training':>8} {'MiB':>7}  sampler and trainer are equal in")
    for folder in sorted((f for f in out.iterdir() if f.name.isdigit()), key=lambda f: int(f.name)):
        shown, seconds = zip(*(accuracy(folder / f"eval-{name}.json") for name in ("before", "sft", "grpo")))
        sft, grpo = rows_of(folder / "sft/metrics.jsonl"), rows_of(folder / "grpo/metrics.jsonl")
        wall = [rows[-1]["wall_s"] if rows else NONE for rows in (sft, grpo)]
        median = [statistics.median(r[key] for r in grpo) if grpo else NONE for key in ("step_s", "sample_s", "train_s")]
        equal = sum(r["sampler_trainer_max_abs"] == 0 for r in grpo)
        differed |= equal < len(grpo)
        if (folder / "eval-grpo.json").exists():
            after.append(json.loads((folder / "eval-grpo.json").read_text())["pass_at_1"])
        print(f"{folder.name:>4}  {shown[0]:<18} {shown[1]:<18} {shown[2]:<18} {wall[0]:>6.1f} {wall[1]:>7.1f} {sum(wall) + sum(seconds):>6.0f}  "
              f"{median[0]:>6.2f} {median[1]:>8.2f} {median[2]:>8.2f} {memory_of(folder / 'grpo/run.json'):>7.0f}  {equal} of {len(grpo)} steps")
        if grpo and json.loads((folder / "grpo/run.json").read_text())["numerics"] == "cuda-bf16":
            print(f"      a step takes {PEER_STEP / median[0]:.2f} times less than the peer's {PEER_STEP} s (bar 2, aim 4)")
    if len(after) > 1:
        print(f"after GRPO: {100 * statistics.mean(after):.1f} % +- {100 * statistics.stdev(after):.1f} between {len(after)} seeds (bar 8 %, aim 12 %)")
    return 1 if differed else 0


if __name__ == "__main__":
    sys.exit(main())
