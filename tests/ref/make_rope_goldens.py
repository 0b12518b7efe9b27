"""Writes tests/golden/models/rope.json: transformers' own rotary tables (fp32, CPU) for the published R1 family and for corner cases.

    python tests/ref/make_rope_goldens.py        # needs torch and transformers 5

Each case: name, config (what of config.json matters, as it is published), inverse (the inverse frequencies), attention_factor, and
for some cosines and sines [positions, pairs] at the positions named. Numbers are f32 written out as doubles.
"""
import json
import pathlib

import torch
from transformers import DeepseekV3Config, LlamaConfig, Qwen2Config, Qwen3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3RotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "models" / "rope.json"
KINDS = {"deepseek_v3": (DeepseekV3Config, DeepseekV3RotaryEmbedding), "llama": (LlamaConfig, LlamaRotaryEmbedding),
         "qwen2": (Qwen2Config, Qwen2RotaryEmbedding), "qwen3": (Qwen3Config, Qwen3RotaryEmbedding)}


def deepseek(scaling, width=64, **more):
    return dict(model_type="deepseek_v3", hidden_size=7168, num_attention_heads=128, qk_rope_head_dim=width, qk_nope_head_dim=128,
                max_position_embeddings=163840, rope_theta=10000, rope_scaling=scaling, **more)


def grouped(kind, hidden, heads, positions, theta, scaling=None, **more):
    return dict(model_type=kind, hidden_size=hidden, num_attention_heads=heads, max_position_embeddings=positions, rope_theta=theta,
                rope_scaling=scaling, **more)


R1 = dict(type="yarn", factor=40, original_max_position_embeddings=4096, beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=1.0)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
YARN4 = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32768)
CASES = {
    "DeepSeek-R1": deepseek(R1),
    "R1-Distill-Qwen-1.5B": grouped("qwen2", 1536, 12, 131072, 10000),
    "R1-Distill-Qwen-7B": grouped("qwen2", 3584, 28, 131072, 10000),
    "R1-Distill-Qwen-14B": grouped("qwen2", 5120, 40, 131072, 1000000.0),
    "R1-Distill-Qwen-32B": grouped("qwen2", 5120, 40, 131072, 1000000.0),
    "R1-Distill-Llama-8B": grouped("llama", 4096, 32, 131072, 500000.0, LLAMA3, head_dim=128),
    "R1-Distill-Llama-70B": grouped("llama", 8192, 64, 131072, 500000.0, LLAMA3, head_dim=128),
    "Llama-3.2-1B": grouped("llama", 2048, 32, 131072, 500000.0, dict(LLAMA3, factor=32.0), head_dim=64),
    "Qwen3-8B": grouped("qwen3", 4096, 32, 40960, 1000000, head_dim=128),
    "Qwen3-8B, yarn": grouped("qwen3", 4096, 32, 131072, 1000000, YARN4, head_dim=128),
    "Qwen2.5-7B, yarn": grouped("qwen2", 3584, 28, 131072, 1000000.0, YARN4),
    "two mscales": deepseek(dict(R1, mscale=0.707)),
    "mscale alone": deepseek(dict({k: v for k, v in R1.items() if k != "mscale_all_dim"}, mscale=0.707)),
    "mscale_all_dim is 0": deepseek(dict(R1, mscale_all_dim=0)),
    "an attention factor": deepseek(dict(R1, attention_factor=0.75)),
    "a ramp between pairs": deepseek(dict(R1, truncate=False)),
    "a ramp of no length": deepseek(dict(R1, beta_fast=1, truncate=False)),
    "betas of 0 are the default": deepseek(dict(R1, beta_fast=0, beta_slow=0)),
    "no pair is slow": deepseek(dict(R1, original_max_position_embeddings=2)),
    "no pair is fast": deepseek(dict(R1, original_max_position_embeddings=1 << 30)),
    "a factor from the contexts": deepseek(dict(R1, factor=None, mscale=None, mscale_all_dim=None)),
    "a factor of 1": deepseek(dict(R1, factor=1.0)),
    "narrow": deepseek(R1, width=6),
    "a fractional llama3": grouped("llama", 640, 8, 4096, 777.5, dict(rope_type="llama3", factor=2.7, low_freq_factor=0.9,
                                                                      high_freq_factor=3.3, original_max_position_embeddings=100)),
    "linear": grouped("llama", 4096, 32, 8192, 10000.0, dict(type="linear", factor=3)),
}
POSITIONS = {"DeepSeek-R1": [1, 4097, 163839], "R1-Distill-Llama-8B": [131071], "two mscales": [100003]}

rows = []
for name, config in CASES.items():
    kind, rotary = KINDS[config["model_type"]]
    arguments = json.loads(json.dumps({k: v for k, v in config.items() if k != "model_type"}))
    table = rotary(kind(**arguments))
    row = {"name": name, "config": config, "attention_factor": float(torch.tensor(table.attention_scaling, dtype=torch.float32)),
           "inverse": table.inv_freq.tolist()}
    if name in POSITIONS:
        cos, sin = table(torch.zeros(1), torch.tensor([POSITIONS[name]]))
        pairs = len(row["inverse"])
        row |= {"positions": POSITIONS[name], "cosines": cos[0, :, :pairs].tolist(), "sines": sin[0, :, :pairs].tolist()}
    rows.append(json.dumps(row))
OUT.write_text("[\n" + ",\n".join(rows) + "\n]\n")
print(OUT, len(rows), "cases,", OUT.stat().st_size, "bytes")
