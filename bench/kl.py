"""KL divergence between two sets of logits that `r1 score --output` wrote: shared by quantize_kl.py and kv_kl.py."""

import json
import pathlib
import subprocess

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXTS = ["README.md", "docs/architecture.md", "docs/numerics.md"]


def run(*words):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


def rows_of_tokens(r1, model, folder, length, count):
    """`count` rows of `length` tokens, the same number from each of this repository's documents TEXTS."""
    texts = [(ROOT / name).read_text() for name in TEXTS]
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    lines = run(r1, "tokenize", model, "--input", folder / "texts.jsonl").splitlines()
    per = count // len(texts)
    rows = []
    for line in lines:
        tokens = json.loads(line)["tokens"]
        rows += [tokens[i * length:(i + 1) * length] for i in range(per)]
    assert all(len(row) == length for row in rows)
    return rows


def read_safetensors(path):
    data = np.memmap(path, dtype=np.uint8, mode="r")
    size = int.from_bytes(bytes(data[:8]), "little")
    header = json.loads(bytes(data[8:8 + size]))
    out = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (8 + size + at for at in entry["data_offsets"])
            out[name] = data[begin:end].view(np.float32).reshape(entry["shape"])
    return out


def log_softmax(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def logits_of(r1, model, rows, folder, name, *options):
    (folder / "rows.jsonl").write_text("".join(json.dumps({"tokens": row}) + "\n" for row in rows))
    run(r1, "score", model, "--input", folder / "rows.jsonl", "--output", folder / f"{name}.safetensors", *options)
    return read_safetensors(folder / f"{name}.safetensors")


def compare(reference, other, rows):
    """Returns mean KL(reference || other) per token, its standard error, the share of tokens with the same most likely next
    token, and the other's perplexity."""
    kls, same, nll, predicted = [], 0, 0.0, 0
    for i, row in enumerate(rows):
        for first in range(0, len(row), 256):  # a part of a row at a time, in double
            p, q = (log_softmax(side[f"logits.{i}"][first:first + 256]) for side in (reference, other))
            kls.append((np.exp(p) * (p - q)).sum(axis=1))
            same += (p.argmax(axis=1) == q.argmax(axis=1)).sum()
            following = row[first + 1:first + 257]
            nll -= q[np.arange(len(following)), following].sum()
            predicted += len(following)
    kls = np.concatenate(kls)
    return kls.mean(), kls.std() / len(kls)**0.5, same / len(kls), np.exp(nll / predicted)
