#!/usr/bin/env python3
"""How far two numerics are apart on the same tokens: the same most likely next token, KL divergence, log-probs of the given token.

    bench/device_agreement.py MODEL [--reference "OPTIONS"] [--other "OPTIONS"] [--tokens N]
        [--kinds solutions,documents,samples] [--prompts FILE] [--r1 build/r1]

By default the reference is cpu-bf16 and the other cuda-bf16: "--device cpu --numerics cpu-bf16" and "--device cuda --numerics cuda-bf16"
are options of r1 score. Each numerics reads the same tokens (teacher forcing), about N of each kind (default: 2,048):

  solutions   problems of GSM8K with their worked solutions, of evals/gsm8k_test.jsonl below R1_TEST_DATA (left out without it)
  documents   this repository's documents, those of bench/kl.py
  samples     the model's own answers at temperature 1, sampled with the reference's numerics: to GSM8K's problems, or to the rows of
              FILE, which are those that r1 generate takes. --prompts countdown makes problems of r1-nano's kind.

Printed per kind: tokens; the share with the same most likely next token, with the bounds of a 95 % interval (Wilson); the same share
where the reference's first and second are at least 0.01 apart in probability; mean KL(reference || other) over the whole vocabulary,
its standard error and its largest value; mean and largest difference of the given token's log-prob; both perplexities.
The exit status is 1 if fewer than 99 % of all tokens agree.
"""
import argparse
import json
import math
import os
import pathlib
import random
import shlex
import subprocess
import sys
import tempfile

import numpy as np

from kl import ROOT, log_softmax, logits_of, rows_of_tokens, run

ROW = 512          # most tokens of a row
AT_A_TIME = 4096   # tokens whose logits are kept on disk for both numerics
BAR = 0.99


def problems():
    folder = os.environ.get("R1_TEST_DATA")
    path = pathlib.Path(folder or "../shared/data") / "evals" / "gsm8k_test.jsonl"
    return [json.loads(line) for line in open(path)] if path.exists() else []


def solutions(args, folder):
    texts = [f"{p['question']}\n{p['answer']}" for p in problems()[:args.tokens // 32]]
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    lines = run(args.r1, "tokenize", args.model, "--input", folder / "texts.jsonl").splitlines()
    return [json.loads(line)["tokens"][:ROW] for line in lines]


def prompts(args):
    count = max(8, args.tokens // 64)  # more than enough: most answers are longer
    if args.prompts == "countdown":
        draw = random.Random(1)
        asked = [f"Make {draw.randint(10, 99)} from {draw.randint(1, 50)}, {draw.randint(1, 50)} and {draw.randint(1, 50)}." for _ in range(count)]
    elif args.prompts:
        return pathlib.Path(args.prompts).read_text()
    else:
        asked = [p["question"] for p in problems()[-count:]]
    return "".join(json.dumps({"messages": [{"role": "user", "content": text}]}) + "\n" for text in asked)


def samples(args, folder):
    text = prompts(args)
    if not text:
        return []
    (folder / "prompts.jsonl").write_text(text)
    run(args.r1, "generate", args.model, "--input", folder / "prompts.jsonl", "--output", folder / "samples.jsonl", "--temperature", 1,
        "--top-p", 1, "--max-tokens", 256, "--seed", 1, *shlex.split(args.reference))
    lines = [json.loads(line) for line in open(folder / "samples.jsonl")]
    return [(line["prompt_tokens"] + line["tokens"])[:ROW] for line in lines]


def documents(args, folder):
    count = max(3, args.tokens // 256 // 3 * 3)
    return rows_of_tokens(args.r1, args.model, folder, 256, count)


KINDS = {"solutions": solutions, "documents": documents, "samples": samples}


def limited(rows, tokens):
    """The first rows, until there are so many tokens."""
    kept, total = [], 0
    for row in rows:
        if total >= tokens:
            break
        if len(row) > 1:
            kept.append(row)
            total += len(row)
    return kept


class Apart:
    """Sums over the tokens of one kind."""

    def __init__(self):
        self.same, self.clear, self.kl, self.given, self.nll = [], [], [], [], [[], []]

    def add(self, p, q, row, first):
        """p, q: log-probs [t, V] of the two numerics after tokens first, first + 1, ... of the row."""
        top = p.argmax(axis=1)
        self.same.append(top == q.argmax(axis=1))
        two = np.partition(p, -2, axis=1)[:, -2:]
        self.clear.append(np.exp(two[:, 1]) - np.exp(two[:, 0]) >= 0.01)
        self.kl.append((np.exp(p) * (p - q)).sum(axis=1))
        following = row[first + 1:first + 1 + len(p)]
        given = [side[np.arange(len(following)), following] for side in (p, q)]
        self.given.append(np.abs(given[0] - given[1]))
        for at, side in enumerate(given):
            self.nll[at].append(-side)

    def line(self, name):
        same, clear, kl, given = map(np.concatenate, (self.same, self.clear, self.kl, self.given))
        low, high = wilson(same.mean(), len(same))
        ppl = [math.exp(np.concatenate(side).mean()) for side in self.nll]
        return (f"{name:<10} {len(same):>6}  {100 * same.mean():>6.2f} % ({100 * low:.2f} to {100 * high:.2f})  {100 * same[clear].mean():>7.2f} %  "
                f"{kl.mean():>9.2e} +- {kl.std() / len(kl) ** 0.5:.0e}  {kl.max():>8.1e}  {given.mean():>8.1e}  {given.max():>8.1e}  "
                f"{ppl[0]:>8.3f}  {ppl[1]:>8.3f}")


HEAD = (f"{'kind':<10} {'tokens':>6}  {'same top token':>26}  {'if clear':>9}  {'KL':>18}  {'most':>8}  {'log-prob':>8}  {'most':>8}  "
        f"{'ppl':>8}  {'ppl':>8}")


def wilson(share, n, z=1.96):
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def groups(rows):
    some, total = [], 0
    for row in rows:
        if some and total + len(row) > AT_A_TIME:
            yield some
            some, total = [], 0
        some.append(row)
        total += len(row)
    if some:
        yield some


def measure(args, rows, folder, totals):
    for some in groups(rows):
        sides = [logits_of(args.r1, args.model, some, folder, name, *shlex.split(options))
                 for name, options in (("reference", args.reference), ("other", args.other))]
        for i, row in enumerate(some):
            for first in range(0, len(row), 256):
                p, q = (log_softmax(side[f"logits.{i}"][first:first + 256]) for side in sides)
                for total in totals:
                    total.add(p, q, row, first)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--reference", default="--device cpu --numerics cpu-bf16")
    parser.add_argument("--other", default="--device cuda --numerics cuda-bf16")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--prompts", default="")
    parser.add_argument("--r1", default=str(ROOT / "build/r1"))
    args = parser.parse_args()
    wanted = args.kinds.split(",")
    if not set(wanted) <= KINDS.keys():
        parser.error(f"--kinds is {args.kinds}; it must be of {', '.join(KINDS)}")
    print(f"{args.model}: reference r1 score {args.reference}; other r1 score {args.other}")
    print(HEAD, flush=True)
    everything = Apart()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for kind in wanted:
            rows = limited(KINDS[kind](args, folder), args.tokens)
            if not rows:
                print(f"{kind:<10} left out: there is no text", flush=True)
                continue
            apart = Apart()
            measure(args, rows, folder, (apart, everything))
            print(apart.line(kind), flush=True)
    if not everything.same:
        print("device_agreement: there is nothing to compare", file=sys.stderr)
        return 2
    print(everything.line("all"))
    share = np.concatenate(everything.same).mean()
    print(f"{'at least' if share >= BAR else 'LESS THAN'} {100 * BAR:.0f} % of all tokens agree")
    return 0 if share >= BAR else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        print(f"device_agreement: {error.cmd[1]}: {error.stderr.strip()}", file=sys.stderr)
        sys.exit(2)
