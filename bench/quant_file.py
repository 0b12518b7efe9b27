"""Writes a GGUF file of a published model's shape with random blocks, to measure memory and speed without the real one.

    python3 bench/quant_file.py r1-distill-qwen-1.5b Q4_K_M OUT.gguf        # needs the packages gguf and numpy

Shapes: R1's distills to Qwen 1.5B and 7B and to Llama 8B, DeepSeek-V2-Lite (16B, MLA and experts), and a small one.
Types: BF16, Q8_0, Q4_0, Q4_K_M (attn_v and ffn_down in Q6_K for half of the layers, the output in Q6_K, as llama.cpp's mixture). Bytes
are random, and scales are such that the weights have a deviation of about 0.02. The file has no vocabulary: the input must be token ids.
"""
import sys

import gguf
import numpy as np

SHAPES = {
    "r1-distill-qwen-1.5b": dict(architecture="qwen2", width=1536, hidden=8960, layers=28, heads=12, kv_heads=2, vocab=151936, context=131072),
    "r1-distill-qwen-7b": dict(architecture="qwen2", width=3584, hidden=18944, layers=28, heads=28, kv_heads=4, vocab=152064, context=131072),
    "r1-distill-llama-8b": dict(architecture="llama", width=4096, hidden=14336, layers=32, heads=32, kv_heads=8, vocab=128256, context=131072),
    "deepseek-v2-lite": dict(architecture="deepseek2", width=2048, hidden=10944, layers=27, heads=16, kv_heads=1, vocab=102400, context=163840,
                             latent=512, nope=128, rope=64, value=128, experts=64, live=6, shared=2, expert_hidden=1408),
    "small": dict(architecture="qwen2", width=512, hidden=1536, layers=4, heads=8, kv_heads=2, vocab=4096, context=4096),
}
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


def attention(shape, i):
    """(name, shape) of a layer's matrices of attention; the last dimension is the one that is summed over."""
    d, heads = shape["width"], shape["heads"]
    if shape["architecture"] == "deepseek2":
        latent, nope, rope, value = (shape[k] for k in ("latent", "nope", "rope", "value"))
        return [(f"blk.{i}.attn_q", (heads * (nope + rope), d)), (f"blk.{i}.attn_kv_a_mqa", (latent + rope, d)),
                (f"blk.{i}.attn_k_b", (heads, latent, nope)), (f"blk.{i}.attn_v_b", (heads, value, latent)),
                (f"blk.{i}.attn_output", (d, heads * value))]
    keys = shape["kv_heads"] * (d // heads)
    return [(f"blk.{i}.attn_q", (d, d)), (f"blk.{i}.attn_k", (keys, d)), (f"blk.{i}.attn_v", (keys, d)), (f"blk.{i}.attn_output", (d, d))]


def feed_forward(shape, i):
    d = shape["width"]
    if shape["architecture"] != "deepseek2" or i == 0:
        f = shape["hidden"]
        return [(f"blk.{i}.ffn_gate", (f, d)), (f"blk.{i}.ffn_up", (f, d)), (f"blk.{i}.ffn_down", (d, f))]
    e, f = shape["experts"], shape["expert_hidden"]
    all_shared = shape["shared"] * f
    return [(f"blk.{i}.ffn_gate_exps", (e, f, d)), (f"blk.{i}.ffn_up_exps", (e, f, d)), (f"blk.{i}.ffn_down_exps", (e, d, f)),
            (f"blk.{i}.ffn_gate_shexp", (all_shared, d)), (f"blk.{i}.ffn_up_shexp", (all_shared, d)), (f"blk.{i}.ffn_down_shexp", (d, all_shared))]


def metadata(w, shape):
    w.add_context_length(shape["context"])
    w.add_embedding_length(shape["width"])
    w.add_feed_forward_length(shape["hidden"])
    w.add_block_count(shape["layers"])
    w.add_head_count(shape["heads"])
    w.add_head_count_kv(shape["kv_heads"])
    w.add_layer_norm_rms_eps(1e-6)
    w.add_rope_freq_base(10000.0)
    w.add_vocab_size(shape["vocab"])
    w.add_tokenizer_model("no_vocab")
    if shape["architecture"] != "deepseek2":
        return
    w.add_leading_dense_block_count(1)
    w.add_expert_count(shape["experts"])
    w.add_expert_used_count(shape["live"])
    w.add_expert_shared_count(shape["shared"])
    w.add_expert_feed_forward_length(shape["expert_hidden"])
    w.add_expert_weights_scale(1.0)
    w.add_expert_weights_norm(False)
    w.add_expert_gating_func(gguf.ExpertGatingFuncType.SOFTMAX)
    w.add_kv_lora_rank(shape["latent"])
    w.add_key_length(shape["latent"] + shape["rope"])
    w.add_value_length(shape["latent"])
    w.add_key_length_mla(shape["nope"] + shape["rope"])
    w.add_value_length_mla(shape["value"])
    w.add_rope_dimension_count(shape["rope"])


def vectors(shape):
    """(name, values) of the tensors in F32."""
    d = shape["width"]
    for i in range(shape["layers"]):
        yield f"blk.{i}.attn_norm.weight", np.ones(d, dtype=np.float32)
        yield f"blk.{i}.ffn_norm.weight", np.ones(d, dtype=np.float32)
        if shape["architecture"] == "qwen2":
            for name, (n, _) in attention(shape, i)[:3]:
                yield name + ".bias", np.zeros(n, dtype=np.float32)
        if shape["architecture"] == "deepseek2":
            yield f"blk.{i}.attn_kv_a_norm.weight", np.ones(shape["latent"], dtype=np.float32)
            if i > 0:
                random = np.random.default_rng(1000 + i).standard_normal((shape["experts"], d), dtype=np.float32)
                yield f"blk.{i}.ffn_gate_inp.weight", random * np.float32(0.02)
    yield "output_norm.weight", np.ones(d, dtype=np.float32)


def main():
    shape, file_type, path = SHAPES[sys.argv[1]], sys.argv[2], sys.argv[3]
    rng = np.random.default_rng(1)
    w = gguf.GGUFWriter(path, shape["architecture"])
    metadata(w, shape)
    d, v, layers = shape["width"], shape["vocab"], shape["layers"]
    matrices = [("token_embd", (v, d))]
    for i in range(layers):
        matrices += attention(shape, i) + feed_forward(shape, i)
    matrices.append(("output", (v, d)))
    types = []
    for name, dims in matrices:
        layer = int(name.split(".")[1]) if name.startswith("blk.") else -1
        types.append(type_of(name.split(".")[-1], file_type, layer, layers))
        size, nbytes = gguf.GGML_QUANT_SIZES[types[-1]]
        rows = int(np.prod(dims[:-1]))
        bytes_ = dims[-1] // size * nbytes
        stored = np.dtype(np.float16 if types[-1] == T.BF16 else np.uint8)
        shape_in_file = (*dims[:-1], bytes_ // stored.itemsize) if stored == np.uint8 else dims
        w.add_tensor_info(name + ".weight", shape_in_file, stored, rows * bytes_, raw_dtype=types[-1])
    small = list(vectors(shape))
    for name, values in small:
        w.add_tensor_info(name, values.shape, values.dtype, values.nbytes)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    for (name, dims), type_ in zip(matrices, types):
        w.write_tensor_data(blocks(rng, type_, int(np.prod(dims[:-1])), dims[-1]))
    for _, values in small:
        w.write_tensor_data(values)
    w.close()


if __name__ == "__main__":
    main()
