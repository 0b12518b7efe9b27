#!/usr/bin/env python3
"""The runs of bench/zero_10m.sh: the course of each seed, then one row per seed.

    python3 bench/zero_10m_table.py OUT REACH

  base     seconds of pre-training
  step     median seconds of a step of GRPO, of its sampling and of its training, with the tokens of an answer
  reached  seconds of GRPO's steps until held-out pass@1 was REACH, the same with evaluations, and with pre-training, too
  equal    steps in which the sampler's log-probs were the trainer's
The peer is a PyTorch program with a model of the same size: 2.2 s per step, and 0.80 after 330 s (bar: 5 times, and twice as soon).
"""
import json
import pathlib
import statistics
import sys

HELD, EVAL_S = "eval.countdown99.pass_at_1", "eval.countdown99.seconds"
PEER_STEP, PEER_REACHED = 2.2, 330


def rows_of(path):
    return [json.loads(line) for line in open(path) if line.endswith("\n")] if path.exists() else []


def course(rows):
    print("  step  accuracy  tokens/answer  seconds/step  held-out pass@1  seconds of steps")
    for at in range(0, len(rows), 20):
        part = rows[at:at + 20]
        shown = next((r[HELD] for r in part[::-1] if HELD in r), float("nan"))
        print(f"  {part[-1]['step']:4d}  {statistics.mean(r['accuracy'] for r in part):8.3f}  {statistics.mean(r['length'] for r in part):13.1f}  "
              f"{statistics.median(r['step_s'] for r in part):12.3f}  {shown:15.3f}  {part[-1]['wall_s']:16.1f}")


def times(peer, seconds, on_gpu):
    return f"{peer / seconds:.1f}x" if on_gpu else "-"


def line_of(seed, base, rows, reach, on_gpu):
    pretraining = base[-1]["wall_s"]
    at = next((i for i, r in enumerate(rows) if r.get(HELD, 0) >= reach), None)
    median = {key: statistics.median(r[key] for r in rows) for key in ("step_s", "sample_s", "train_s", "length")}
    equal = sum(r["sampler_trainer_max_abs"] == 0 for r in rows)
    text = (f"{seed:>4}  {pretraining:>6.1f}  {median['step_s']:>6.3f}  {median['sample_s']:>8.3f}  {median['train_s']:>8.3f}  {median['length']:>6.0f}  "
            f"{times(PEER_STEP, median['step_s'], on_gpu):>8}  ")
    if at is None:
        best = max((r[HELD] for r in rows if HELD in r), default=float("nan"))
        return text + f"not in {len(rows)} steps, {rows[-1]['wall_s']:.1f} s; best {best:.3f}; equal in {equal} of {len(rows)}"
    steps_s = rows[at]["wall_s"]
    with_evals = steps_s + sum(r.get(EVAL_S, 0) for r in rows[:at + 1])
    sooner = "/".join(times(PEER_REACHED, s, on_gpu) for s in (steps_s, with_evals, with_evals + pretraining))
    return text + (f"step {rows[at]['step']}: {steps_s:.1f} s, with evaluations {with_evals:.1f}, with pre-training {with_evals + pretraining:.1f} "
                   f"(sooner than the peer: {sooner}); equal in {equal} of {len(rows)}")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    out, reach = pathlib.Path(sys.argv[1]), float(sys.argv[2])
    lines = []
    for folder in sorted((f for f in out.iterdir() if f.name.isdigit()), key=lambda f: int(f.name)):
        base, rows = rows_of(folder / "base/metrics.jsonl"), rows_of(folder / "zero/metrics.jsonl")
        if not rows:
            last = base[-1] if base else {"wall_s": 0, "step": 0}
            lines.append(f"{folder.name:>4}  {last['wall_s']:>6.1f}  pre-training ended at step {last['step']}; no step of GRPO")
            continue
        print(f"seed {folder.name}")
        course(rows)
        on_gpu = json.loads((folder / "zero/run.json").read_text())["numerics"] == "cuda-bf16"  # not a trial with a small model
        lines.append(line_of(folder.name, base, rows, reach, on_gpu))
    print(f"seed  base s  step s  sampling  training  tokens      peer  held-out pass@1 of {reach:.2f} reached")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
