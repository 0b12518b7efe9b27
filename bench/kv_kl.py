"""KL divergence by the type of keys and values (--kv-type) on a quantised model: q8 beside bf16, and both beside f32.

    python bench/kv_kl.py R1 SMOLLM2.gguf [OUT.txt]      (package: numpy)

Weights are computed with as they are stored (cpu-q8act), so that only keys and values differ. The texts are this repository's documents
README.md, docs/architecture.md and docs/numerics.md, in rows of 512 tokens. The last two lines give a scale: activations are not
quantised (cpu-f32 on the same weights), with keys in f32 and in q8. Printed per pair: mean KL(first || second) per token with its
standard error, the share of tokens whose most likely next token is the same, and the perplexity of the second.
"""

import pathlib
import sys
import tempfile

from kl import compare, logits_of, rows_of_tokens

ROW, ROWS = 512, 3
PAIRS = [("cpu-q8act/kv-f32", "cpu-q8act/kv-f32"), ("cpu-q8act/kv-f32", "cpu-q8act"), ("cpu-q8act/kv-f32", "cpu-q8act/kv-q8"),
         ("cpu-q8act", "cpu-q8act/kv-q8"), ("cpu-f32", "cpu-q8act/kv-f32"), ("cpu-f32", "cpu-f32/kv-q8")]


def main():
    r1, model = sys.argv[1], sys.argv[2]
    lines = [f"{'first':18} {'second':18} {'KL':>11} {'+-':>10} {'same top':>8} {'perplexity':>10}"]
    print(lines[0])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        rows = rows_of_tokens(r1, model, folder, ROW, ROWS)
        logits = {}
        for numerics in {name: None for pair in PAIRS for name in pair}:
            logits[numerics] = logits_of(r1, model, rows, folder, numerics.replace("/", "-"), "--numerics", numerics)
        for first, second in PAIRS:
            kl, error, same, perplexity = compare(logits[first], logits[second], rows)
            lines.append(f"{first:18} {second:18} {kl:>11.8f} {error:>10.8f} {same:>8.4f} {perplexity:>10.4f}")
            print(lines[-1], flush=True)
    if len(sys.argv) > 3:
        with open(sys.argv[3], "a") as out:
            out.write("\n".join(lines) + "\n")


main()
