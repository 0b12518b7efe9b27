"""The error of r1's quantisers beside llama.cpp's, on the same tensors.

    python bench/quantize_rms.py R1 SMOLLM2.gguf [OUT.txt]      (packages: llama-cpp-python, gguf, numpy)

Two sources, both with F32 matrices: a llama model of random-normal matrices with rows of 512 and 1024, and SmolLM2-135M as its file
dequantises. Each is quantised by both programs, every matrix to one type (rows of SmolLM2 that fit no block of 256 are left out of the
K and IQ4_XS figures). The error is the relative RMS over all matrices of the type, read back by the gguf package.
"""

import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFReader, GGUFWriter
from gguf.quants import dequantize

import llama_quantize

TYPES = ["Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "Q3_K", "Q2_K"]
R1_PRESET = {"Q4_K": "Q4_K_S", "Q5_K": "Q5_K_S", "Q3_K": "Q3_K_M"}


def tensors_of(path):
    return {t.name: t for t in GGUFReader(path).tensors}


def random_model(path):
    """A llama model that llama.cpp can open."""
    random = np.random.default_rng(7)
    width, hidden, vocab, layers = 512, 1024, 256, 2
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(8)
    writer.add_head_count_kv(8)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{i}" for i in range(vocab)])
    writer.add_token_types([1] * vocab)
    writer.add_token_merges(["t 1"])
    matrix = lambda rows, columns: random.normal(0, 0.02, (rows, columns)).astype(np.float32)
    writer.add_tensor("token_embd.weight", matrix(vocab, width))
    writer.add_tensor("output_norm.weight", np.ones(width, dtype=np.float32))
    writer.add_tensor("output.weight", matrix(vocab, width))
    for layer in range(layers):
        for name in ["attn_norm", "ffn_norm"]:
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(width, dtype=np.float32))
        for name, rows, columns in [("attn_q", width, width), ("attn_k", width, width), ("attn_v", width, width),
                                    ("attn_output", width, width), ("ffn_gate", hidden, width), ("ffn_up", hidden, width),
                                    ("ffn_down", width, hidden)]:
            writer.add_tensor(f"blk.{layer}.{name}.weight", matrix(rows, columns))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def error(source, path, kind):
    """Relative RMS over the matrices that have the type, and how many weights those are."""
    squares = off = 0.0
    count = 0
    for name, tensor in tensors_of(path).items():
        if tensor.tensor_type != T[kind]:
            continue
        want = source[name].data.astype(np.float64)
        got = dequantize(tensor.data, tensor.tensor_type).astype(np.float64).reshape(want.shape)
        squares += (want**2).sum()
        off += ((got - want)**2).sum()
        count += want.size
    return (off / squares)**0.5 if squares else None, count


def main():
    r1, smollm2 = sys.argv[1], sys.argv[2]
    lines = [f"{'':8} {'type':7} {'weights':>10} {'r1':>11} {'llama.cpp':>11} {'ratio':>7} {'r1 s':>6} {'llama s':>8}"]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        random_model(folder / "random.gguf")
        subprocess.run([r1, "convert", smollm2, folder / "smollm2.gguf", "--dtype", "f32"], check=True, stdout=subprocess.DEVNULL)
        for label in ["random", "smollm2"]:
            source = tensors_of(folder / f"{label}.gguf")
            for kind in TYPES:
                begin = time.time()
                subprocess.run([r1, "quantize", folder / f"{label}.gguf", folder / "r1.gguf", "--type", R1_PRESET.get(kind, kind), "--pure",
                                "--force"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                middle = time.time()
                llama_quantize.quantize(folder / f"{label}.gguf", folder / "llama.gguf", kind, pure=True)
                end = time.time()
                ours, count = error(source, folder / "r1.gguf", kind)
                theirs, _ = error(source, folder / "llama.gguf", kind)
                lines.append(f"{label:8} {kind:7} {count:>10} {ours:>11.6f} {theirs:>11.6f} {ours / theirs:>7.4f} {middle - begin:>6.1f} "
                             f"{end - middle:>8.1f}")
                print(lines[-1], flush=True)
    if len(sys.argv) > 3:
        pathlib.Path(sys.argv[3]).write_text("\n".join(lines) + "\n")


main()
