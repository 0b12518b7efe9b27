"""Writes a checkpoint of a published model's shape with random bf16 weights, to measure memory and speed without the real one.

    python3 bench/make_shape.py r1-distill-qwen-1.5b OUT_DIR        # 3.6 GB; no package needed

Values are roughly normal with the initialiser's deviation of 0.02. They come from a table, so that writing takes seconds.
The checkpoint has no tokenizer, so the input must be rows of token ids.
"""
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
}


def bf16(value):
    return struct.unpack("<I", struct.pack("<f", value))[0] >> 16


def tensors(c):
    d, f, v = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    head = d // c["num_attention_heads"]
    q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    yield "model.embed_tokens.weight", [v, d]
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", [d]
        for name, n in (("q", q), ("k", kv), ("v", kv)):
            yield p + f"self_attn.{name}_proj.weight", [n, d]
            yield p + f"self_attn.{name}_proj.bias", [n]
        yield p + "self_attn.o_proj.weight", [d, q]
        yield p + "post_attention_layernorm.weight", [d]
        yield p + "mlp.gate_proj.weight", [f, d]
        yield p + "mlp.up_proj.weight", [f, d]
        yield p + "mlp.down_proj.weight", [d, f]
    yield "model.norm.weight", [d]
    yield "lm_head.weight", [v, d]


def main():
    shape, out = SHAPES[sys.argv[1]], pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(shape, indent=2) + "\n")
    header, at, listed = {}, 0, list(tensors(shape))
    for name, dims in listed:
        count = dims[0] * (dims[1] if len(dims) == 2 else 1)
        header[name] = {"dtype": "BF16", "shape": dims, "data_offsets": [at, at + 2 * count]}
        at += 2 * count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    draw = random.Random(1)
    table = b"".join(struct.pack("<H", bf16(draw.gauss(0, 0.02))) for _ in range(1 << 20))
    ones = struct.pack("<H", bf16(1.0))
    with open(out / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, dims in listed:
            count = dims[0] * (dims[1] if len(dims) == 2 else 1)
            if "norm" in name:
                file.write(ones * count)
                continue
            shift = draw.randrange(1 << 18) * 2
            left = 2 * count
            while left > 0:
                piece = table[shift:shift + left]
                file.write(piece)
                left -= len(piece)
                shift = draw.randrange(1 << 18) * 2


if __name__ == "__main__":
    main()
