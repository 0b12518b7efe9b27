#!/usr/bin/env python3
"""r1 beside PyTorch on a GPU: training and sampling of the published shapes, in one run, with ratios.

    bench/gpu_peers.py OUT [train|sample|ROW ...] [--device cpu] [--seconds 200] [--r1 build/r1] [--sampler build/gpu_sampling]

ROW is a name that --list prints. Each row runs r1, the PyTorch program (bench/peers/torch_gpu.py), and r1 again; r1's figure is the mean
of its two. A program that fails or takes longer than --seconds leaves its figure out, and the exit status is then 1. OUT gets rows.jsonl, one line
per figure, to which a later call adds, and logs. The table at the end is of all lines; its bars are ratios to the peer that is named: a
figure of the other program's own, measured earlier on the same kind of GPU, where PyTorch is not the peer.
--device cpu tries the program: small shapes, few steps, PyTorch without torch.compile, and r1 bench in the place of gpu_sampling.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TRAIN = {  # shape: rows, length, kinds of the peer
    "dense-98m": (32, 1024, [[]]),
    "qwen2-1.5b": (8, 1024, [[]]),
    "moe-117m": (32, 512, [["--transformers"], []]),
}
SAMPLE = {"moe-117m": [256], "qwen3-0.6b": [1, 64, 512], "qwen2-1.5b": [1, 32, 128, 256]}
# row: peer, its tokens per second (None: the PyTorch program of this run), bar, aim
BARS = {
    "train dense-98m": ("torch, compiled", None, 1.0, 1.4),
    "train qwen2-1.5b": ("torch, compiled", None, 0.95, 1.15),
    "train moe-117m": ("transformers, eager", None, 4, 8),
    "sample moe-117m 256": ("torch", None, 1.2, 2),
    "sample qwen3-0.6b 1": ("RL.cu", 282, 2, 4),
    "sample qwen3-0.6b 64": ("RL.cu", 15900, 2, 4),
    "sample qwen3-0.6b 512": ("RL.cu", 45900, 2, 5),
    "sample qwen2-1.5b 1": ("llama.cpp", 431, 1.5, 2.5),
    "sample qwen2-1.5b 32": ("llama.cpp", 8200, 1.5, 2.5),
    "sample qwen2-1.5b 128": ("llama.cpp", 20300, 1.5, 2.5),
    "sample qwen2-1.5b 256": ("llama.cpp", 24400, 1.5, 2.5),
}


class Runner:
    def __init__(self, args):
        self.args, self.out, self.failed = args, pathlib.Path(args.out), False
        self.cpu = args.device == "cpu"
        self.numerics = "cpu-bf16" if self.cpu else "cuda-bf16"
        self.out.mkdir(parents=True, exist_ok=True)

    def program(self, name, *words):
        """Returns the standard output, or "" if the program failed."""
        begin = time.monotonic()
        log = self.out / f"{name.replace(' ', '-').replace(',', '')}.log"
        status = "failed"
        try:
            done = subprocess.run([str(w) for w in words], cwd=ROOT, capture_output=True, text=True, timeout=self.args.seconds)
            log.write_text(done.stdout + done.stderr)
            if done.returncode == 0:
                print(f"  {name}: {time.monotonic() - begin:.0f} s", flush=True)
                return done.stdout
            status = f"failed with status {done.returncode}: {(done.stderr.strip().splitlines() or ['no word'])[-1]}"
        except subprocess.TimeoutExpired:
            status = f"had no end after {self.args.seconds} s"
        except OSError as error:
            status = f"could not be run: {error}"
        print(f"  {name}: FAILED: {status}", flush=True)
        self.failed = True
        return ""

    def keep(self, row, who, rate, **more):
        with open(self.out / "rows.jsonl", "a") as file:
            file.write(json.dumps(dict(row=row, who=who, tokens_per_s=rate, small=self.cpu, **more)) + "\n")

    def shape(self, name):
        """A folder with the config.json."""
        folder = self.out / name
        folder.mkdir(exist_ok=True)
        source = ROOT / "bench/shapes" / f"{name}.json"
        if self.cpu:
            subprocess.run([sys.executable, ROOT / "bench/small_shape.py", source, folder / "config.json"], check=True)
        else:
            (folder / "config.json").write_text(source.read_text())
        return folder.resolve()

    def train(self, name):
        rows, length, kinds = TRAIN[name]
        micro = rows * length
        if self.cpu:
            rows, length, micro = 2, 32, 64
        config = self.shape(name) / "config.json"

        def ours(turn):
            text = self.program(f"train {name} r1 {turn}", self.args.r1, "bench", config, "--train", "--device", self.args.device,
                                "--numerics", self.numerics, "--rows", rows, "--length", length, "--micro", micro, "--repeat", 5, "--json")
            if text:
                run = json.loads(text)
                self.keep(f"train {name}", "r1", run["tokens_per_s"]["median"], parameters=run["parameters"])
        ours(1)
        for options in kinds:
            kind = "transformers" if options else "torch"
            text = self.program(f"train {name} {kind}", self.args.python, "bench/peers/torch_gpu.py", "train", config,
                                "--rows", rows, "--length", length, "--json", *options, *(["--eager", "--repeat", 2] if self.cpu else []))
            for run in map(json.loads, text.splitlines()):
                self.keep(f"train {name}", self.named(run["kind"]), run["tokens_per_s"], parameters=run["parameters"])
        ours(2)

    def named(self, kind):
        return kind if kind.startswith("transformers") else f"torch, {kind}"

    def sample(self, name):
        folder, counts = self.shape(name), SAMPLE[name]
        new = 8 if self.cpu else 256
        if self.cpu:
            counts = sorted({min(c, 4) for c in counts})
        listed = ",".join(map(str, counts))

        def ours(turn):
            title = f"sample {name} r1 {turn}"
            if self.cpu:
                text = self.program(title, self.args.r1, "bench", folder, "--random-weights", "--device", "cpu", "--numerics", self.numerics,
                                    "--no-llama-cpp", "--depth", new, "--batch", listed, "--repeat", 2, "--json")
                found = [(r["batch"], r["tokens_per_s"]["median"]) for r in json.loads(text or '{"results": []}')["results"]
                         if r["kind"] == "decode"]
            else:
                text = self.program(title, self.args.sampler, "--new", new, "--repeat", 3, f"{folder / 'config.json'}:{listed}")
                found = sampled(text)
            for count, rate in found:
                self.keep(f"sample {name} {count}", "r1", rate)
        ours(1)
        command = [self.args.python, "bench/peers/torch_gpu.py", "sample", folder / "config.json", "--sequences", listed, "--new", new, "--json"]
        text = "" if self.cpu else self.program(f"sample {name} torch compiled", *command, "--compile")
        text = text or self.program(f"sample {name} torch", *command)
        for run in map(json.loads, text.splitlines()):
            self.keep(f"sample {name} {run['sequences']}", self.named(run["kind"]), run["tokens_per_s"])
        ours(2)


def sampled(text):
    """(sequences, tokens per second) of the lines of gpu_sampling."""
    return [(int(m[1]), float(m[2])) for m in re.finditer(r"^sampling .*?(\d+) sequences +[\d.]+ s +(\d+) tok/s", text, re.M)]


def table(path):
    figures, small = {}, False
    for line in open(path):
        f = json.loads(line)
        small |= f["small"]
        figures.setdefault(f["row"], {}).setdefault(f["who"], []).append(f["tokens_per_s"])
    head = f"{'row':<24} {'r1 tok/s':>10} {'spread':>7}  {'peer':<34} {'tok/s':>10} {'ratio':>6} {'bar':>5} {'aim':>5}"
    lines = [head + ("   small shapes on a CPU: no figure of a model" if small else "")]
    for row, by in figures.items():
        ours = by.pop("r1", [])
        peer, recorded, bar, aim = ("", None, None, None) if small else BARS.get(row, ("", None, None, None))
        if recorded:
            by[f"{peer} (earlier)"] = [recorded]
        mean = statistics.mean(ours) if ours else float("nan")
        spread = f"{100 * (max(ours) / min(ours) - 1):.1f} %" if ours else ""
        for who, rates in by.items():
            ratio = mean / statistics.mean(rates)
            asked = peer and who.startswith(peer)
            lines.append(f"{row:<24} {mean:>10,.0f} {spread:>7}  {who:<34} {statistics.mean(rates):>10,.0f} {ratio:>6.2f} "
                         + (f"{bar:>5} {aim:>5}  {'aim' if ratio >= aim else 'bar' if ratio >= bar else 'below the bar'}" if asked else "").rstrip())
        if not by:
            lines.append(f"{row:<24} {mean:>10,.0f} {spread:>7}  the peer has no figure")
    return lines


def main():
    names = [f"train {n}" for n in TRAIN] + [f"sample {n}" for n in SAMPLE]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?")
    parser.add_argument("rows", nargs="*", help="train, sample, or rows as \"train dense-98m\"; default: all")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--seconds", type=int, default=200)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--r1", default=os.environ.get("R1", "build/r1"))
    parser.add_argument("--sampler", default=os.environ.get("SAMPLER", "build/gpu_sampling"))
    args = parser.parse_args()
    if args.list:
        print("\n".join(names))
        return 0
    if not args.out:
        parser.error("OUT is missing")
    wanted = args.rows or ["train", "sample"]
    for word in wanted:
        if word not in names and word not in ("train", "sample"):
            parser.error(f"{word} is no row; --list prints them")
    runner = Runner(args)
    try:
        for name in names:
            if name in wanted or name.split()[0] in wanted:
                kind, shape = name.split()
                print(f"== {name}", flush=True)
                (runner.train if kind == "train" else runner.sample)(shape)
    except KeyboardInterrupt:
        print("  FAILED: stopped by a signal; the table has what is there", flush=True)
        runner.failed = True
    rows = runner.out / "rows.jsonl"
    if rows.exists():
        print("\n".join(table(rows)))
    return 1 if runner.failed else 0


if __name__ == "__main__":
    sys.exit(main())
