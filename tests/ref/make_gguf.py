"""Writes tests/golden/gguf with the gguf package: files that r1 must read as that package does.

  python tests/ref/make_gguf.py            (packages: gguf 0.19, numpy, safetensors)

  metadata.gguf, metadata.json   keys of every kind, and their values
  blocks.gguf        TYPE: random blocks of each quantised type; TYPE.f32: what the package makes of them (NaNs made alike);
                     numbers: floats; numbers.TYPE: the blocks that the package makes of these
  split-*.gguf       a model of three files
  <model>.gguf       models of tests/golden/models, with names and row orders as llama.cpp has them, in f16
"""

import json
import math
import pathlib

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFValueType as V
from gguf import GGUFWriter, MODEL_ARCH, get_tensor_name_map
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize
from safetensors.numpy import load_file

HERE = pathlib.Path(__file__).resolve().parent.parent / "golden"
OUT = HERE / "gguf"

BLOCK_TYPES = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS",
               "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"]
# Where a block has its f16 scales, in bytes.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2],
          "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0],
          "IQ3_S": [0]}


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def metadata():
    writer = GGUFWriter(OUT / "metadata.gguf", "test")
    writer.add_custom_alignment(64)
    values = {
        "a.u8": (255, V.UINT8), "a.i8": (-128, V.INT8), "a.u16": (65535, V.UINT16), "a.i16": (-32768, V.INT16),
        "a.u32": (2**32 - 1, V.UINT32), "a.i32": (-2**31, V.INT32), "a.f32": (0.1, V.FLOAT32), "a.bool": (True, V.BOOL),
        "a.string": ("schön \u0000 \"x\"", V.STRING), "a.u64": (2**63 - 1, V.UINT64), "a.i64": (-2**63, V.INT64),
        "a.f64": (0.1, V.FLOAT64),
    }
    for key, (value, kind) in values.items():
        writer.add_key_value(key, value, kind)
    arrays = {"b.strings": ["", "a", "Ġthe"], "b.ints": [-1, 0, 7], "b.floats": [0.5, -2.0], "b.bools": [True, False, True],
              "b.nested": [[1, 2], [3]]}
    for key, value in arrays.items():
        writer.add_array(key, value)
    writer.add_tensor("x", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("y", np.array([1, 2, 3], dtype=np.float16))
    finish(writer)
    expected = {key: value for key, (value, _) in values.items()} | arrays
    expected["a.f32"] = float(np.float32(0.1))
    expected["general.architecture"] = "test"
    expected["general.alignment"] = 64
    (OUT / "metadata.json").write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n")


def blocks():
    random = np.random.default_rng(13)
    writer = GGUFWriter(OUT / "blocks.gguf", "test")
    for name in BLOCK_TYPES:
        kind = T[name]
        elements, size = GGML_QUANT_SIZES[kind]
        count = {1: 64, 32: 6, 256: 4}[elements]
        data = random.integers(0, 256, (count, size), dtype=np.uint8)
        # Random bytes are huge or tiny scales, infinities and NaN too; every block but the last gets usual ones.
        for at in SCALES.get(name, []):
            usual = random.normal(0, 0.05, count - 1).astype(np.float16)
            data[:-1, at:at + 2] = usual.view(np.uint8).reshape(-1, 2)
        if name == "F16":
            data = data.reshape(-1).view(np.float16)
        with np.errstate(all="ignore"):
            values = dequantize(data, kind).astype(np.float32).reshape(-1)
        values[np.isnan(values)] = np.array([0x7FC00000], dtype=np.uint32).view(np.float32)
        if name == "F16":
            writer.add_tensor(name, data)
        else:
            writer.add_tensor(name, data.reshape(-1), raw_dtype=kind)
        writer.add_tensor(name + ".f32", values)
    numbers = random.normal(0, 1, (6, 64)).astype(np.float32)
    numbers[1] *= 1e-4
    numbers[2] = 0
    numbers[3, 5] = 40
    numbers[4, :32] = np.abs(numbers[4, :32])
    numbers[5, :32] = 0.25
    writer.add_tensor("numbers", numbers)
    for name in ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]:
        data = quantize(numbers, T[name])
        if name == "F16":
            writer.add_tensor("numbers." + name, data)
        else:
            writer.add_tensor("numbers." + name, data, raw_dtype=T[name])
    finish(writer)


def split():
    writer = GGUFWriter(OUT / "split.gguf", "test", split_max_tensors=2)
    writer.add_string("general.name", "three files")
    for i in range(5):
        writer.add_tensor(f"t{i}", np.full((2, 4), i, dtype=np.float32))
    finish(writer)


def permuted(weight, heads):
    """llama.cpp's order of llama's query and key rows: the two halves of a rotary pair side by side."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def rope_factors(config, width):
    """rope_freqs.weight for llama3's scaling: what each inverse frequency is divided by."""
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
    context = rope["original_max_position_embeddings"]
    theta = rope.get("rope_theta") or config["rope_theta"]
    out = []
    for i in range(0, width, 2):
        turn = 2 * math.pi * theta ** (i / width)
        if turn < context / high:
            out.append(1.0)
        elif turn > context / low:
            out.append(factor)
        else:
            share = (context / turn - low) / (high - low)
            out.append(1 / ((1 - share) / factor + share))
    return np.array(out, dtype=np.float32)


def experts_stacked(tensors):
    """One tensor [experts, rows, columns] for the experts' matrices of one kind in a layer."""
    out, stacks = {}, {}
    for name, value in tensors.items():
        if ".mlp.experts." in name:
            before, after = name.split(".mlp.experts.")
            expert, kind = after.split(".", 1)
            stacks.setdefault(f"{before}.mlp.experts.{kind}", {})[int(expert)] = value
        else:
            out[name] = value
    for name, parts in stacks.items():
        out[name] = np.stack([parts[i] for i in range(len(parts))])
    return out


ARCHITECTURES = {"llama": MODEL_ARCH.LLAMA, "qwen2": MODEL_ARCH.QWEN2, "qwen3": MODEL_ARCH.QWEN3, "qwen3_moe": MODEL_ARCH.QWEN3MOE,
                 "deepseek_v2": MODEL_ARCH.DEEPSEEK2, "deepseek_v3": MODEL_ARCH.DEEPSEEK2}


def write_rope(writer, arch, config, latent):
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    writer.add_rope_freq_base(rope.get("rope_theta") or config.get("rope_theta", 10000.0))
    if rope.get("rope_type", rope.get("type")) == "yarn":
        writer.add_string(f"{arch}.rope.scaling.type", "yarn")
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        for key, name in [("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")]:
            if key in rope and (not latent or config["model_type"] == "deepseek_v2"):
                writer.add_float32(f"{arch}.rope.scaling.{name}", rope[key])
        if rope.get("mscale_all_dim"):
            writer.add_rope_scaling_yarn_log_mul(0.1 * rope["mscale_all_dim"])


def model(name, out, split_latent=False, gating=True):
    """gating: whether the key of the router's function is there, which old files of DeepSeek-V2 lack."""
    config = json.loads((HERE / "models" / name / "config.json").read_text())
    tensors = load_file(HERE / "models" / name / "model.safetensors")
    family = config["model_type"]
    kind = ARCHITECTURES[family]
    latent = family in ("deepseek_v2", "deepseek_v3")
    heads, kv_heads = config["num_attention_heads"], config.get("num_key_value_heads") or config["num_attention_heads"]
    arch = {"deepseek_v2": "deepseek2", "deepseek_v3": "deepseek2", "qwen3_moe": "qwen3moe"}.get(family, family)
    writer = GGUFWriter(OUT / (out + ".gguf"), arch)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    write_rope(writer, arch, config, latent)
    if latent:
        nope, rope, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
        rank = config["kv_lora_rank"]
        writer.add_head_count_kv(1 if split_latent else heads)
        if config["q_lora_rank"]:
            writer.add_q_lora_rank(config["q_lora_rank"])
        writer.add_kv_lora_rank(rank)
        writer.add_key_length(rank + rope if split_latent else nope + rope)
        writer.add_value_length(rank if split_latent else value)
        if split_latent:
            writer.add_key_length_mla(nope + rope)
            writer.add_value_length_mla(value)
        writer.add_rope_dimension_count(rope)
        writer.add_leading_dense_block_count(config["first_k_dense_replace"])
        writer.add_expert_count(config["n_routed_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_shared_count(config["n_shared_experts"])
        if gating:
            writer.add_expert_group_count(config["n_group"])
            writer.add_expert_group_used_count(config["topk_group"])
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
        writer.add_expert_weights_scale(config["routed_scaling_factor"])
        writer.add_expert_weights_norm(config["norm_topk_prob"])
        if gating:
            writer.add_uint32("deepseek2.expert_gating_func", 2 if family == "deepseek_v3" else 1)
    else:
        if family == "qwen3_moe":
            writer.add_expert_count(config.get("num_experts") or config["num_local_experts"])
            writer.add_expert_used_count(config["num_experts_per_tok"])
            writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
        writer.add_head_count_kv(kv_heads)
        width = config.get("head_dim") or config["hidden_size"] // heads
        writer.add_rope_dimension_count(width)
        if config["hidden_size"] != heads * width:
            writer.add_key_length(width)
            writer.add_value_length(width)
    names = get_tensor_name_map(kind, config["num_hidden_layers"])
    for key, value in experts_stacked(tensors).items():
        if key == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue
        if family == "llama" and ".q_proj." in key:
            value = permuted(value, heads)
        if family == "llama" and ".k_proj." in key:
            value = permuted(value, kv_heads)
        value = value if value.ndim == 1 else value.astype(np.float16)
        if split_latent and key.endswith("kv_b_proj.weight"):
            both = value.reshape(heads, nope + value_width(config), rank)
            base = key.removesuffix("kv_b_proj.weight")
            writer.add_tensor(names.get_name(base + "k_b_proj") + ".weight",
                              np.ascontiguousarray(both[:, :nope].swapaxes(1, 2)))
            writer.add_tensor(names.get_name(base + "v_b_proj") + ".weight", np.ascontiguousarray(both[:, nope:]))
            continue
        if key.endswith("e_score_correction_bias"):
            key += ".bias"
            key = key.replace("e_score_correction_bias.bias", "e_score_correction.bias")
        mapped = names.get_name(key, try_suffixes=(".weight", ".bias"))
        assert mapped is not None, key
        writer.add_tensor(mapped, value)
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_factors(config, width))
    finish(writer)


def value_width(config):
    return config["v_head_dim"]


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    metadata()
    blocks()
    split()
    model("llama-llama3", "llama-llama3")
    model("qwen2-yarn", "qwen2-yarn")
    model("qwen3-tied", "qwen3-tied")
    model("deepseek_v3-groups", "deepseek2-groups")
    model("deepseek_v3-yarn-mscale", "deepseek2-split", split_latent=True)
    model("qwen3_moe-all", "qwen3moe-all")
    model("deepseek_v2-lite", "deepseek2-lite", gating=False)
    model("deepseek_v2-groups", "deepseek2-v2-groups", split_latent=True)
    model("deepseek_v3-moonlight", "deepseek2-moonlight")
    for path in sorted(OUT.iterdir()):
        print(path.name, path.stat().st_size)


main()
