"""Writes a GGUF file of a published model's shape with random blocks, to measure memory and speed without the real one.

    python3 bench/quant_file.py r1-distill-qwen-1.5b Q4_K_M OUT.gguf        # needs the packages gguf and numpy

Types: BF16, Q8_0, Q4_0, Q4_K_M (attn_v and ffn_down in Q6_K for half of the layers, the output in Q6_K, as llama.cpp's mixture). Bytes
are random, and scales are such that the weights have a deviation of about 0.02. The file has no vocabulary: the input must be token ids.
"""
import sys

import gguf
import numpy as np

SHAPES = {"r1-distill-qwen-1.5b": dict(width=1536, hidden=8960, layers=28, heads=12, kv_heads=2, vocab=151936, context=131072),
          "small": dict(width=512, hidden=1536, layers=4, heads=8, kv_heads=2, vocab=4096, context=4096)}
T = gguf.GGMLQuantizationType


def halves(rows, at, value, data):
    data[:, at:at + 2] = np.frombuffer(np.float16(value).tobytes(), dtype=np.uint8)


def blocks(rng, type_, n, k):
    """n rows of k elements as rows of bytes."""
    if type_ == T.BF16:
        values = rng.standard_normal((n, k), dtype=np.float32) * np.float32(0.02)
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    size, nbytes = gguf.GGML_QUANT_SIZES[type_]
    count = n * k // size
    data = rng.integers(0, 256, (count, nbytes), dtype=np.uint8)
    if type_ == T.Q8_0:
        halves(data, 0, 0.02 / 73, data)
    elif type_ == T.Q4_0:
        halves(data, 0, 0.02 / 4.6, data)
    elif type_ == T.Q4_K:
        halves(data, 0, 0.02 / 147, data)
        halves(data, 2, 7.5 * 0.02 / 147, data)
    elif type_ == T.Q6_K:
        halves(data, 208, 0.02 / 1350, data)
    else:
        raise SystemExit(f"no random blocks of {type_.name}")
    return data.reshape(n, k // size * nbytes)


def type_of(name, file_type, layer, layers):
    if file_type != "Q4_K_M":
        return T[file_type]
    more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
    return T.Q6_K if name == "output" or (name in ("attn_v", "ffn_down") and more) else T.Q4_K


def main():
    shape, file_type, path = SHAPES[sys.argv[1]], sys.argv[2], sys.argv[3]
    rng = np.random.default_rng(1)
    d, f, v, layers = shape["width"], shape["hidden"], shape["vocab"], shape["layers"]
    head = d // shape["heads"]
    w = gguf.GGUFWriter(path, "qwen2", use_temp_file=False)
    w.add_context_length(shape["context"])
    w.add_embedding_length(d)
    w.add_feed_forward_length(f)
    w.add_block_count(layers)
    w.add_head_count(shape["heads"])
    w.add_head_count_kv(shape["kv_heads"])
    w.add_layer_norm_rms_eps(1e-6)
    w.add_rope_freq_base(10000.0)
    w.add_vocab_size(v)
    w.add_tokenizer_model("no_vocab")
    todo = [("token_embd", v, d, -1)]
    for i in range(layers):
        todo += [(f"blk.{i}.{name}", n, k, i)
                 for name, n, k in (("attn_q", d, d), ("attn_k", shape["kv_heads"] * head, d), ("attn_v", shape["kv_heads"] * head, d),
                                    ("attn_output", d, d), ("ffn_gate", f, d), ("ffn_up", f, d), ("ffn_down", d, f))]
    todo.append(("output", v, d, -1))
    for name, n, k, layer in todo:
        type_ = type_of(name.split(".")[-1], file_type, layer, layers)
        w.add_tensor(name + ".weight", blocks(rng, type_, n, k), raw_dtype=type_)
        if name.split(".")[-1] in ("attn_q", "attn_k", "attn_v"):
            w.add_tensor(name + ".bias", np.zeros(n, dtype=np.float32))
    for i in range(layers):
        for name in ("attn_norm", "ffn_norm"):
            w.add_tensor(f"blk.{i}.{name}.weight", np.ones(d, dtype=np.float32))
    w.add_tensor("output_norm.weight", np.ones(d, dtype=np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    main()
