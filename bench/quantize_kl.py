"""KL divergence of quantised SmolLM2 to its checkpoint in bf16: r1's files beside llama.cpp's of the same type, both scored by r1 in f32.

    python bench/quantize_kl.py R1 SMOLLM2.gguf [OUT.txt] [TYPES]      (packages: llama-cpp-python, gguf, numpy)

The source of both quantisers is the file that SMOLLM2.gguf dequantises to, in f32; the reference is the same in bf16. The texts are this
repository's documents: README.md, docs/architecture.md and docs/numerics.md are scored, docs/guide.md makes the importance matrix, which
both programs get. Printed per file: mean KL(reference || file) per token with its standard error, the share of tokens whose most likely
next token is the same, the perplexity, the size, and r1's KL over llama.cpp's.
"""

import pathlib
import sys
import tempfile

import numpy as np
from gguf import GGUFReader

import llama_quantize
from kl import ROOT, compare, logits_of, rows_of_tokens, run

TYPES = ["Q8_0", "Q6_K", "Q5_K_M", "Q5_0", "Q4_K_M", "Q4_K_S", "IQ4_XS", "IQ4_NL", "Q4_1", "Q4_0"]
ROW, ROWS = 256, 6


def importance_of(path):
    tensors = {t.name: np.array(t.data, dtype=np.float64) for t in GGUFReader(path).tensors}
    return {name.removesuffix(".in_sum2"): sums.reshape(sums.shape[0] if sums.ndim > 1 else 1, -1) /
            tensors[name.removesuffix(".in_sum2") + ".counts"].reshape(-1, 1)
            for name, sums in tensors.items() if name.endswith(".in_sum2")}


def main():
    r1, smollm2 = sys.argv[1], sys.argv[2]
    types = sys.argv[4].split(",") if len(sys.argv) > 4 else TYPES
    head = f"{'type':8} {'imatrix':8} {'by':9} {'MB':>6} {'KL':>10} {'+-':>9} {'same top':>8} {'perplexity':>10} {'ratio':>6}"
    lines = [head]
    print(head)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        run(r1, "convert", smollm2, folder / "source.gguf", "--dtype", "f32")
        run(r1, "convert", smollm2, folder / "bf16.gguf", "--dtype", "bf16")
        run(r1, "imatrix", folder / "bf16.gguf", "--input", ROOT / "docs/guide.md", "-o", folder / "imatrix.gguf", "--dtype", "f32",
            "--chunk", "256", "--chunks", "24")
        importance = importance_of(folder / "imatrix.gguf")
        rows = rows_of_tokens(r1, smollm2, folder, ROW, ROWS)
        reference = logits_of(r1, folder / "bf16.gguf", rows, folder, "reference", "--dtype", "f32")
        for kind in types:
            for guided in [False, True]:
                if guided and kind == "Q8_0":
                    continue
                figures = {}
                for by in ["r1", "llama.cpp"]:
                    path = folder / "q.gguf"
                    if by == "r1":
                        run(r1, "quantize", folder / "source.gguf", path, "--type", kind, "--force",
                            *(["--imatrix", folder / "imatrix.gguf"] if guided else []))
                    else:
                        llama_quantize.quantize(folder / "source.gguf", path, kind, importance=importance if guided else None)
                    kl, error, same, perplexity = compare(reference, logits_of(r1, path, rows, folder, "other", "--dtype", "f32"), rows)
                    figures[by] = kl
                    ratio = f"{figures['r1'] / kl:6.3f}" if by == "llama.cpp" else ""
                    lines.append(f"{kind:8} {'yes' if guided else 'no':8} {by:9} {path.stat().st_size / 1e6:>6.1f} {kl:>10.6f} {error:>9.6f} "
                                 f"{same:>8.4f} {perplexity:>10.3f} {ratio}")
                    print(lines[-1], flush=True)
    if len(sys.argv) > 3 and sys.argv[3]:
        with open(sys.argv[3], "a") as out:
            out.write("\n" + "\n".join(lines) + "\n")


main()
