"""Writes a checkpoint of a published model's shape with random weights, to measure memory and speed without the real one.

    python3 bench/make_shape.py r1-distill-qwen-1.5b OUT_DIR        # bf16, 3.6 GB; no package needed
    python3 bench/make_shape.py qwen3-0.6b OUT_DIR                  # bf16, 1.2 GB
    python3 bench/make_shape.py r1-fp8-cut OUT_DIR                  # R1's embedding, one dense layer and one with experts, 16 GB

Values are roughly normal with the initialiser's deviation of 0.02. They come from a table, so that writing takes seconds.
r1-fp8-cut is in FP8 with scales, as R1 is published: two shards, embedding, head, router and norms in bf16.
The checkpoint has no tokenizer, so the input must be rows of token ids.
"""
import bisect
import json
import pathlib
import random
import struct
import sys

SHAPES = {
    "r1-distill-qwen-1.5b": dict(
        architectures=["Qwen2ForCausalLM"], model_type="qwen2", hidden_size=1536, intermediate_size=8960, num_hidden_layers=28,
        num_attention_heads=12, num_key_value_heads=2, vocab_size=151936, max_position_embeddings=131072, rope_theta=10000,
        rms_norm_eps=1e-6, tie_word_embeddings=False, hidden_act="silu", bos_token_id=151646, eos_token_id=151643,
        initializer_range=0.02, torch_dtype="bfloat16", use_sliding_window=False, attention_dropout=0.0),
    "qwen3-0.6b": dict(
        architectures=["Qwen3ForCausalLM"], model_type="qwen3", hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
        num_attention_heads=16, num_key_value_heads=8, head_dim=128, vocab_size=151936, max_position_embeddings=40960,
        rope_theta=1000000, rms_norm_eps=1e-6, tie_word_embeddings=True, hidden_act="silu", bos_token_id=151643,
        eos_token_id=151645, initializer_range=0.02, torch_dtype="bfloat16", use_sliding_window=False, attention_bias=False,
        attention_dropout=0.0),
    "r1-fp8-cut": dict(
        architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3", hidden_size=7168, intermediate_size=18432,
        num_hidden_layers=2, first_k_dense_replace=1, num_attention_heads=128, num_key_value_heads=128, vocab_size=129280,
        q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=256,
        n_shared_experts=1, num_experts_per_tok=8, moe_intermediate_size=2048, n_group=8, topk_group=4, norm_topk_prob=True,
        routed_scaling_factor=2.5, scoring_func="sigmoid", topk_method="noaux_tc", moe_layer_freq=1, max_position_embeddings=163840,
        rope_theta=10000, rms_norm_eps=1e-6, tie_word_embeddings=False, hidden_act="silu", bos_token_id=0, eos_token_id=1,
        rope_scaling=dict(type="yarn", factor=40, original_max_position_embeddings=4096, beta_fast=32, beta_slow=1, mscale=1.0,
                          mscale_all_dim=1.0),
        initializer_range=0.02, torch_dtype="bfloat16", attention_bias=False,
        quantization_config=dict(activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", weight_block_size=[128, 128])),
}
SIZES = {"BF16": 2, "F8_E4M3": 1, "F32": 4}


def bf16(value):
    return struct.unpack("<I", struct.pack("<f", value))[0] >> 16


def qwen(c):
    """Tensors of Qwen2 (biases) and Qwen3 (norms of queries and keys)."""
    d, f, v = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    head = c.get("head_dim", d // c["num_attention_heads"])
    q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    yield "model.embed_tokens.weight", [v, d], "BF16"
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", [d], "BF16"
        for name, n in (("q", q), ("k", kv), ("v", kv)):
            yield p + f"self_attn.{name}_proj.weight", [n, d], "BF16"
            if c["model_type"] == "qwen2":
                yield p + f"self_attn.{name}_proj.bias", [n], "BF16"
        if c["model_type"] == "qwen3":
            for name in ("q", "k"):
                yield p + f"self_attn.{name}_norm.weight", [head], "BF16"
        yield p + "self_attn.o_proj.weight", [d, q], "BF16"
        yield p + "post_attention_layernorm.weight", [d], "BF16"
        yield p + "mlp.gate_proj.weight", [f, d], "BF16"
        yield p + "mlp.up_proj.weight", [f, d], "BF16"
        yield p + "mlp.down_proj.weight", [d, f], "BF16"
    yield "model.norm.weight", [d], "BF16"
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", [v, d], "BF16"


def fp8(name, n, k):
    yield name, [n, k], "F8_E4M3"
    yield name + "_scale_inv", [-(-n // 128), -(-k // 128)], "F32"


def mlp(prefix, d, f):
    for name, n, k in (("gate", f, d), ("up", f, d), ("down", d, f)):
        yield from fp8(f"{prefix}.{name}_proj.weight", n, k)


def deepseek_v3(c):
    d, v, heads, rank = c["hidden_size"], c["vocab_size"], c["num_attention_heads"], c["kv_lora_rank"]
    query, both = c["qk_nope_head_dim"] + c["qk_rope_head_dim"], c["qk_nope_head_dim"] + c["v_head_dim"]
    yield "model.embed_tokens.weight", [v, d], "BF16"
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        for name, n in (("input_layernorm", d), ("post_attention_layernorm", d), ("self_attn.q_a_layernorm", c["q_lora_rank"]),
                        ("self_attn.kv_a_layernorm", rank)):
            yield f"{p}{name}.weight", [n], "BF16"
        for name, n, k in (("q_a_proj", c["q_lora_rank"], d), ("q_b_proj", heads * query, c["q_lora_rank"]),
                           ("kv_a_proj_with_mqa", rank + c["qk_rope_head_dim"], d), ("kv_b_proj", heads * both, rank),
                           ("o_proj", d, heads * c["v_head_dim"])):
            yield from fp8(f"{p}self_attn.{name}.weight", n, k)
        if i < c["first_k_dense_replace"]:
            yield from mlp(p + "mlp", d, c["intermediate_size"])
            continue
        yield p + "mlp.gate.weight", [c["n_routed_experts"], d], "BF16"
        yield p + "mlp.gate.e_score_correction_bias", [c["n_routed_experts"]], "F32"
        for e in range(c["n_routed_experts"]):
            yield from mlp(f"{p}mlp.experts.{e}", d, c["moe_intermediate_size"])
        yield from mlp(p + "mlp.shared_experts", d, c["moe_intermediate_size"] * c["n_shared_experts"])
    yield "model.norm.weight", [d], "BF16"
    yield "lm_head.weight", [v, d], "BF16"


def fp8_code(value, magnitudes):
    """The code of the nearest number; `magnitudes` are those of codes 0 to 126."""
    at = bisect.bisect_left(magnitudes, abs(value))
    if at > 0 and (at == len(magnitudes) or abs(value) - magnitudes[at - 1] < magnitudes[at] - abs(value)):
        at -= 1
    return at | (128 if value < 0 else 0)


def tables(draw):
    magnitudes = [(m / 8 if e == 0 else 1 + m / 8) * 2.0 ** (max(e, 1) - 7) for e in range(16) for m in range(8)][:127]
    normal = [draw.gauss(0, 1) for _ in range(1 << 20)]
    return {"BF16": b"".join(struct.pack("<H", bf16(0.02 * x)) for x in normal),
            "F8_E4M3": bytes(fp8_code(64 * x, magnitudes) for x in normal)}


def count_of(dims):
    return dims[0] * (dims[1] if len(dims) == 2 else 1)


def write(path, listed, table, draw):
    header, at = {}, 0
    for name, dims, kind in listed:
        size = SIZES[kind] * count_of(dims)
        header[name] = {"dtype": kind, "shape": dims, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, dims, kind in listed:
            count = count_of(dims)
            if "norm" in name:
                file.write(struct.pack("<H", bf16(1.0)) * count)
            elif kind == "F32":  # scales, and selection biases of 0
                file.write(struct.pack("<f", 0.02 / 64 if name.endswith("_scale_inv") else 0.0) * count)
            else:
                left = SIZES[kind] * count
                while left > 0:
                    shift = draw.randrange(1 << 18) * 2
                    piece = table[kind][shift:shift + left]
                    file.write(piece)
                    left -= len(piece)


def main():
    shape, out = SHAPES[sys.argv[1]], pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(shape, indent=2) + "\n")
    draw = random.Random(1)
    table = tables(draw)
    if shape["model_type"].startswith("qwen"):
        return write(out / "model.safetensors", list(qwen(shape)), table, draw)
    listed = list(deepseek_v3(shape))
    shards = [[t for t in listed if (".layers.1." in t[0]) == second] for second in (False, True)]
    names = [f"model-0000{i + 1}-of-00002.safetensors" for i in range(2)]
    for name, part in zip(names, shards):
        write(out / name, part, table, draw)
    weight_map = {t[0]: name for name, part in zip(names, shards) for t in part}
    (out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}) + "\n")


if __name__ == "__main__":
    main()
