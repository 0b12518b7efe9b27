#!/usr/bin/env python3
"""A run of ./run or `r1 recipe`, summed up for bench/results/.

    bench/run_summary.py RUN_DIR [--what TEXT] [--wall SECONDS] [--output FILE]

Reads RUN_DIR/recipe.json and the stages' metrics.jsonl. Date and commit are of the run (recipe.json's last change; the repository
that RUN_DIR lies in), the machine is this one: run it where the run was made. --wall is what `time ./run` said, the build included.
A stage's wall_s counts its steps alone; a mean of x_s is over its steps.
"""
import argparse
import datetime
import hashlib
import json
import os
import pathlib
import subprocess
import sys

ARM = ("pass_at_1", "low", "high", "mean_length", "mean_thinking", "truncated", "well_formed", "problems", "samples")
PHASES = ("step_s", "sample_s", "verify_s", "score_s", "train_s", "update_s")


def commit_of(directory):
    def git(*words):
        return subprocess.run(["git", "-C", str(directory), *words], capture_output=True, text=True, check=True).stdout.strip()
    dirty = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "--short", "HEAD") + (" with changes" if dirty else "")


def machine():
    fields = dict(line.split(":", 1) for line in open("/proc/cpuinfo") if ":" in line)
    fields = {k.strip(): v.strip() for k, v in fields.items()}
    flags = fields.get("flags", "").split()
    simd = next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "no AVX2")
    cores = len(os.sched_getaffinity(0))
    shared = " (virtual, shared host)" if "hypervisor" in flags else ""
    return f"{cores} cores of {fields.get('model name', 'an unknown processor')}, {simd}{shared}"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shipped_models():
    root = pathlib.Path(__file__).resolve().parent.parent / "models"
    return {sha256(weights): weights.parent.name for weights in sorted(root.glob("*/model.safetensors"))}


def training(stage, directory, shipped):
    rows = [json.loads(line) for line in open(directory / "metrics.jsonl")]
    out = {"kind": stage["kind"], "steps": rows[-1]["step"], "wall_s": round(rows[-1]["wall_s"], 1)}
    for phase in PHASES:
        values = [row[phase] for row in rows if phase in row]
        if values:
            out[phase + "_mean"] = round(sum(values) / len(values), 4)
    if "sampler_trainer_max_abs" in rows[-1]:
        out["sampler_trainer_max_abs"] = max(row["sampler_trainer_max_abs"] for row in rows)
    out["tokens"] = stage["tokens"]
    teacher = directory / "teacher.json"
    if teacher.exists():
        out["teacher_s"] = round(json.loads(teacher.read_text())["seconds"], 1)
    weights = directory / "model" / "model.safetensors"
    if weights.exists():
        out["weights_equal_shipped"] = shipped.get(sha256(weights))
    return out


def summary(run, what, wall):
    recipe = json.loads((run / "recipe.json").read_text())
    shipped = shipped_models()
    written = datetime.datetime.fromtimestamp((run / "recipe.json").stat().st_mtime, datetime.timezone.utc)
    out = {"what": what or recipe["recipe"], "date": written.strftime("%F"), "commit": commit_of(run), "machine": machine(),
           "recipe": recipe["recipe"], "seed": recipe["seed"]}
    if wall is not None:
        out["wall_s"] = wall
    arms = {name: {k: stage["result"][k] for k in ARM} for name, stage in recipe["stages"].items() if stage["kind"] == "eval"}
    stages = {name: training(stage, run / name, shipped) for name, stage in recipe["stages"].items() if stage["kind"] != "eval"}
    return out | {"arms": arms, "stages": stages}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, metavar="RUN_DIR")
    parser.add_argument("--what", help="what was run and how, in words; default: the recipe's name")
    parser.add_argument("--wall", type=float, help="seconds of the whole command")
    parser.add_argument("--output", type=pathlib.Path, help="default: standard output")
    args = parser.parse_args()
    try:
        text = json.dumps(summary(args.run, args.what, args.wall), indent=1) + "\n"
    except FileNotFoundError as e:
        sys.exit(f"run_summary: {e.filename}: is missing: is {args.run} the directory of a finished recipe?")
    if args.output:
        args.output.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
