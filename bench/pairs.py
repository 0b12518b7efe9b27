"""Sampling and training beside an earlier build, pair by pair: is anything slower than it was?

    python3 bench/pairs.py BEFORE NOW [PAIRS]      # two build folders with r1, decode_bench, moe_bench and attention_bench

Each case runs once with either build per pair, in turns, and the summary gives the median over the pairs of

  ratio       BEFORE's time over NOW's: above 1, the new build is faster (decoding: of the time per token)
  CPU ratio   the same of CPU time, which other work on the machine disturbs less
  spread      the smallest and the largest ratio of a pair

GRPO and pre-training run a few steps of the recipes in a folder of their own, with the shipped models beside them.
"""
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
GRPO = ["grpo", "recipes/r1-nano-zero.toml", "--set", "optimizer.steps=4", "--set", "optimizer.warmup=1"]
PRETRAIN = ["pretrain", "recipes/r1-nano-base.toml", "--set", "optimizer.steps=16", "--set", "optimizer.warmup=1"]
CASES = {
    "decode, batch 1": ["decode_bench", "models/r1-nano", "--batch", "1", "--tokens", "256"],
    "decode, batch 64": ["decode_bench", "models/r1-nano", "--batch", "64", "--tokens", "96"],
    "decode, batch 512": ["decode_bench", "models/r1-nano", "--batch", "512"],
    "decode, groups of 16": ["decode_bench", "models/r1-nano", "--batch", "512", "--group", "16", "--context", "256"],
    "decode, cpu-bf16, batch 64": ["decode_bench", "models/r1-nano", "--numerics", "cpu-bf16", "--batch", "64"],
    "GRPO, 4 steps": ["r1", *GRPO],
    "pre-training, 16 steps": ["r1", *PRETRAIN],
}


def cost(build, command, folder):
    """Returns (cost, CPU seconds) of one run. The cost is in seconds, or in seconds per token if the program prints tok/s."""
    shutil.rmtree(folder / "runs", ignore_errors=True)
    with tempfile.TemporaryFile("w+") as out:
        begin = time.monotonic()
        child = subprocess.Popen([build / command[0], *command[1:]], cwd=folder, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - begin
        out.seek(0)
        text = out.read()
    if status != 0:
        sys.exit(f"{' '.join(command)}: status {status}\n{text}")
    rate = re.search(r"([0-9.]+) tok/s", text) if command[0] == "decode_bench" else None
    return 1 / float(rate[1]) if rate else wall, usage.ru_utime + usage.ru_stime


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    builds = [pathlib.Path(p).resolve() for p in sys.argv[1:3]]
    pairs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for part in ("models", "recipes"):
            (folder / part).symlink_to(ROOT / part)
        print(f"# {pairs} pairs, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        for case, command in CASES.items():
            ratios = []
            for pair in range(pairs):
                order = builds if pair % 2 == 0 else builds[::-1]
                took = {build: cost(build, command, folder) for build in order}
                before, now = (took[build] for build in builds)
                ratios.append((before[0] / now[0], before[1] / now[1]))
            wall = [r[0] for r in ratios]
            print(f"{case:28} ratio {statistics.median(wall):.3f}   CPU ratio {statistics.median(r[1] for r in ratios):.3f}"
                  f"   spread {min(wall):.3f} to {max(wall):.3f}", flush=True)


if __name__ == "__main__":
    main()
