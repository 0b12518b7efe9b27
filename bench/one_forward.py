#!/usr/bin/env python3
"""Shows on 1,000 sampled sequences that there is one forward: batch, chunking, threads and command do not change the log-probs.

    bench/one_forward.py [build/r1] [models/r1-nano-base]

(1) r1 generate runs with batches of 1, 7 and 64, whole and chunked prefill, 1 and 2 threads. The output files must be equal.
(2) r1 score must give the same log-probs, compared as strings, for the same tokens.
(3) After one GRPO step, generate (with the random key of samples.jsonl) and score must give the step's tokens and log-probs.
"""
import itertools
import json
import pathlib
import random
import subprocess
import sys
import tempfile

r1 = sys.argv[1] if len(sys.argv) > 1 else "build/r1"
model = sys.argv[2] if len(sys.argv) > 2 else "models/r1-nano-base"
work = pathlib.Path(tempfile.mkdtemp())


def run(*words):
    subprocess.run([r1, *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def rows(path):
    return [json.loads(line) for line in open(path)]


def write(path, items):
    path.write_text("".join(json.dumps(i) + "\n" for i in items))
    return path


def scored(samples):
    """Returns the log-probs that r1 score gives for the samples' tokens, in order."""
    write(work / "score.jsonl", [{"tokens": s["prompt_tokens"] + s["tokens"], "from": len(s["prompt_tokens"])} for s in samples])
    run("score", model, "--input", work / "score.jsonl", "--logprobs", work / "scored.jsonl")
    return [r["logprobs"] for r in rows(work / "scored.jsonl")]


rng = random.Random(1)
prompts = [{"messages": [{"role": "user", "content": f"Make {rng.randint(10, 99)} from {rng.randint(1, 50)}, {rng.randint(1, 50)} and {rng.randint(1, 50)}."}]}
           for _ in range(250)]
write(work / "in.jsonl", prompts)
first = None
for batch, chunk, threads in itertools.product((1, 7, 64), (5, 100000), (1, 2)):
    run("generate", model, "--input", work / "in.jsonl", "--output", work / "out.jsonl", "--samples", 4, "--logprobs", "--seed", 3,
        "--max-tokens", 112, "--batch", batch, "--prefill-chunk", chunk, "--threads", threads)
    text = (work / "out.jsonl").read_bytes()
    first = first or text
    print(f"generate batch {batch:2} chunk {chunk:6} threads {threads}: {'equal' if text == first else 'DIFFERENT'}")
    assert text == first
samples = rows(work / "out.jsonl")
tokens = sum(len(s["tokens"]) for s in samples)
assert scored(samples) == [s["logprobs"] for s in samples]
print(f"score: {len(samples)} sequences, {tokens} log-probs, all strings equal")

config = work / "grpo.toml"
config.write_text(f'name = "one"\nseed = 7\nmodel = "{model}"\nout = "{work}/run"\n[data]\ntask = "countdown3"\n[rollout]\nmax_tokens = 112\n'
                  "[optimizer]\nlr = 1e-4\nsteps = 1\n[log]\nsamples_every = 1\n")
run("grpo", config)
rollouts = rows(work / "run/samples.jsonl")
assert scored(rollouts) == [r["logprobs"] for r in rollouts]
keyed = {r["prompt"]: {"tokens": r["prompt_tokens"], "key": [7, 1, r["prompt"]]} for r in rollouts}
write(work / "keyed.jsonl", [keyed[p] for p in sorted(keyed)])
run("generate", model, "--input", work / "keyed.jsonl", "--output", work / "again.jsonl", "--samples", 16, "--logprobs", "--max-tokens", 112,
    "--temperature", 1, "--top-p", 1)
again = rows(work / "again.jsonl")
assert [(a["tokens"], a["logprobs"]) for a in again] == [(r["tokens"], r["logprobs"]) for r in rollouts]
print(f"samples.jsonl: {len(rollouts)} rollouts of a GRPO step, scored and sampled again: all strings equal")
