"""Writes tests/golden/models/*: tiny random checkpoints with transformers' own answers, in fp32 on the CPU.

    python tests/ref/make_model_goldens.py [NAME ...]        # needs torch and transformers 5; without names: all

Each folder: config.json and model.safetensors as save_pretrained writes them (some with config.json rewritten the way transformers
4 does), and expected.safetensors: tokens [B, T], logits [B, T, V], loss, grad.<name> of the mean next-token cross-entropy,
greedy [G] (the continuation of row 0's first three tokens).
"""
import json
import pathlib
import shutil
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import (DeepseekV2Config, DeepseekV2ForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM, LlamaConfig,
                          LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig,
                          Qwen3MoeForCausalLM)

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "models"
V = 41
MLA = dict(vocab_size=V, num_hidden_layers=2, kv_lora_rank=13, qk_rope_head_dim=6, qk_nope_head_dim=7, v_head_dim=9,
           num_nextn_predict_layers=0, max_position_embeddings=64, bos_token_id=0, eos_token_id=1)
# Tokens run to position 36: beyond original_max_position_embeddings wherever that is scaled. Theta and the betas are such that of
# the few pairs some keep their frequency, some are on the ramp, some are divided by the factor.
YARN = dict(rope_type="yarn", factor=40.0, rope_theta=60.0, original_max_position_embeddings=16, beta_fast=2.0, beta_slow=0.25)
SMALL_MLA = dict(vocab_size=V, num_hidden_layers=2, kv_lora_rank=7, qk_rope_head_dim=10, qk_nope_head_dim=5, v_head_dim=3,
                 num_nextn_predict_layers=0, max_position_embeddings=640, bos_token_id=0, eos_token_id=1, hidden_size=18,
                 intermediate_size=13, moe_intermediate_size=5, n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2,
                 n_group=1, topk_group=1, first_k_dense_replace=1, routed_scaling_factor=1.5, tie_word_embeddings=True)
V2_MLA = dict(vocab_size=V, num_hidden_layers=2, kv_lora_rank=10, qk_rope_head_dim=8, qk_nope_head_dim=6, v_head_dim=7,
              max_position_embeddings=640, bos_token_id=0, eos_token_id=1)
CASES = {
    "deepseek_v3-groups": (DeepseekV3ForCausalLM, DeepseekV3Config(
        **MLA, hidden_size=26, intermediate_size=35, moe_intermediate_size=11, num_attention_heads=3, num_key_value_heads=3,
        n_routed_experts=8, n_shared_experts=2, num_experts_per_tok=3, n_group=4, topk_group=2, first_k_dense_replace=1,
        q_lora_rank=10, routed_scaling_factor=2.5, tie_word_embeddings=False, attention_bias=True, rope_theta=10000.0)),
    "deepseek_v3-no-q-lora": (DeepseekV3ForCausalLM, DeepseekV3Config(
        **MLA, hidden_size=33, intermediate_size=20, moe_intermediate_size=17, num_attention_heads=2, num_key_value_heads=2,
        n_routed_experts=5, n_shared_experts=1, num_experts_per_tok=2, n_group=1, topk_group=1, first_k_dense_replace=0,
        q_lora_rank=None, routed_scaling_factor=1.0, norm_topk_prob=False, tie_word_embeddings=True, rope_interleave=False,
        rms_norm_eps=1e-5)),
    "qwen2-tied": (Qwen2ForCausalLM, Qwen2Config(
        vocab_size=V, hidden_size=30, intermediate_size=37, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1,
        max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1)),
    "llama-biases": (LlamaForCausalLM, LlamaConfig(
        vocab_size=V, hidden_size=42, intermediate_size=31, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        head_dim=10, max_position_embeddings=64, tie_word_embeddings=False, attention_bias=True, mlp_bias=True, bos_token_id=0,
        eos_token_id=1, rms_norm_eps=1e-5)),
    "llama-llama3": (LlamaForCausalLM, LlamaConfig(
        vocab_size=V, hidden_size=20, intermediate_size=19, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=10, max_position_embeddings=128, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1,
        rope_parameters=dict(rope_type="llama3", factor=8.0, rope_theta=100.0, low_freq_factor=1.0, high_freq_factor=2.0,
                             original_max_position_embeddings=16))),
    "qwen2-yarn": (Qwen2ForCausalLM, Qwen2Config(
        vocab_size=V, hidden_size=30, intermediate_size=17, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1,
        max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1,
        rope_parameters=dict(rope_type="yarn", factor=4.0, rope_theta=100.0, original_max_position_embeddings=16))),
    "deepseek_v3-yarn": (DeepseekV3ForCausalLM, DeepseekV3Config(
        **SMALL_MLA, num_attention_heads=3, num_key_value_heads=3, q_lora_rank=6,
        rope_parameters=dict(YARN, mscale=1.0, mscale_all_dim=1.0))),
    "deepseek_v3-yarn-mscale": (DeepseekV3ForCausalLM, DeepseekV3Config(
        **SMALL_MLA, num_attention_heads=2, num_key_value_heads=2, q_lora_rank=None, rope_interleave=False,
        rope_parameters=dict(YARN, mscale=0.707, mscale_all_dim=1.0, truncate=False))),
    "qwen3-tied": (Qwen3ForCausalLM, Qwen3Config(
        vocab_size=V, hidden_size=21, intermediate_size=23, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=6, max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1, rms_norm_eps=1e-3)),
    "qwen3-untied": (Qwen3ForCausalLM, Qwen3Config(
        vocab_size=V, hidden_size=17, intermediate_size=14, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1,
        head_dim=18, max_position_embeddings=128, tie_word_embeddings=False, attention_bias=True, bos_token_id=0, eos_token_id=1,
        rope_parameters=dict(rope_type="linear", factor=2.5, rope_theta=1000000.0))),
    # Every layer has experts, and weights are normalised, as in the published models.
    "qwen3_moe-all": (Qwen3MoeForCausalLM, Qwen3MoeConfig(
        vocab_size=V, hidden_size=22, intermediate_size=19, moe_intermediate_size=9, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=6, num_experts=6, num_experts_per_tok=2, norm_topk_prob=True, max_position_embeddings=64,
        tie_word_embeddings=False, bos_token_id=0, eos_token_id=1, rms_norm_eps=1e-5, rope_theta=1000000.0)),
    # Layers 1 and 3 would have experts, and layer 3 is excepted.
    "qwen3_moe-sparse": (Qwen3MoeForCausalLM, Qwen3MoeConfig(
        vocab_size=V, hidden_size=18, intermediate_size=13, moe_intermediate_size=7, num_hidden_layers=4, num_attention_heads=3,
        num_key_value_heads=1, head_dim=8, num_experts=5, num_experts_per_tok=3, norm_topk_prob=False, decoder_sparse_step=2,
        mlp_only_layers=[3], max_position_embeddings=128, tie_word_embeddings=True, attention_bias=True, bos_token_id=0,
        eos_token_id=1, rope_parameters=dict(rope_type="yarn", factor=4.0, rope_theta=100.0, original_max_position_embeddings=16))),
    # The choices of DeepSeek-V2-Lite.
    "deepseek_v2-lite": (DeepseekV2ForCausalLM, DeepseekV2Config(
        **V2_MLA, hidden_size=24, intermediate_size=15, num_attention_heads=3, moe_intermediate_size=7, n_routed_experts=6,
        n_shared_experts=2, num_experts_per_tok=3, n_group=1, topk_group=1, topk_method="greedy", first_k_dense_replace=1,
        q_lora_rank=None, routed_scaling_factor=1.0, tie_word_embeddings=False, rms_norm_eps=1e-5,
        rope_parameters=dict(YARN, mscale=0.707, mscale_all_dim=0.707))),
    # The choices of DeepSeek-V2.
    "deepseek_v2-groups": (DeepseekV2ForCausalLM, DeepseekV2Config(
        **V2_MLA, hidden_size=20, intermediate_size=17, num_attention_heads=2, moe_intermediate_size=5, n_routed_experts=8,
        n_shared_experts=1, num_experts_per_tok=3, n_group=4, topk_group=2, topk_method="group_limited_greedy",
        first_k_dense_replace=0, q_lora_rank=9, routed_scaling_factor=4.0, tie_word_embeddings=True, attention_bias=True,
        rope_theta=10000.0)),
    # The choices of Moonlight-16B-A3B.
    "deepseek_v3-moonlight": (DeepseekV3ForCausalLM, DeepseekV3Config(
        **MLA, hidden_size=20, intermediate_size=23, moe_intermediate_size=9, num_attention_heads=2, num_key_value_heads=2,
        n_routed_experts=6, n_shared_experts=2, num_experts_per_tok=3, n_group=1, topk_group=1, first_k_dense_replace=1,
        q_lora_rank=None, routed_scaling_factor=2.446, tie_word_embeddings=False, rope_theta=50000.0, rms_norm_eps=1e-5)),
}


# With these no token's experts are so near a tie that bf16 chooses others than fp32. Elsewhere the seed is the case's number.
SEEDS = {"deepseek_v2-groups": 274, "qwen3_moe-all": 339, "deepseek_v3-moonlight": 311}


def as_transformers_4(path):
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    # The oldest files say "type" (R1's own does), later ones "rope_type".
    kind = rope.pop("rope_type")
    config["rope_scaling"] = {"type" if kind == "yarn" else "rope_type": kind, **rope} if kind != "default" else None
    config["torch_dtype"] = config.pop("dtype", "float32")
    path.write_text(json.dumps(config, indent=2) + "\n")


for seed, (name, (kind, config)) in enumerate(CASES.items()):
    if sys.argv[1:] and name not in sys.argv[1:]:
        continue
    torch.manual_seed(SEEDS.get(name, seed))
    model = kind(config).float().eval()
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # the grouped kernel wants widths that are multiples of four
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.normal_(0, 0.25) if p.ndim > 1 else p.normal_(1.0 if "norm" in key else 0.0, 0.2)
        for key, b in model.named_buffers():
            if "e_score_correction_bias" in key:
                b.normal_(0, 0.2)
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if name in ("qwen2-tied", "deepseek_v3-no-q-lora", "llama-llama3", "deepseek_v3-yarn", "qwen3-untied", "qwen3_moe-sparse",
                "deepseek_v2-lite", "deepseek_v3-moonlight"):
        as_transformers_4(folder / "config.json")
    tokens = torch.randint(2, V, (3, 37))
    out = model(tokens, labels=tokens)
    out.loss.backward()
    # Gradients under the names of the file: transformers keeps the experts fused in memory, the checkpoint does not.
    grads = {key: p.grad for key, p in model.named_parameters()}
    expected = {"tokens": tokens.int(), "logits": out.logits.detach(), "loss": out.loss.detach().reshape(1)}
    with safe_open(folder / "model.safetensors", "pt") as f:
        for key in f.keys():
            if key in grads:
                expected["grad." + key] = grads[key]
            elif ".experts." in key:
                layer, expert, matrix = key.split(".")[2], int(key.split(".")[5]), key.split(".")[6]
                prefix = f"model.layers.{layer}.mlp.experts."
                if matrix == "down_proj":
                    g = grads[prefix + "down_proj"][expert]
                else:
                    half = grads[prefix + "gate_up_proj"].shape[1] // 2
                    g = grads[prefix + "gate_up_proj"][expert][:half] if matrix == "gate_proj" else grads[prefix + "gate_up_proj"][expert][half:]
                assert g.shape == f.get_tensor(key).shape, key
                expected["grad." + key] = g.contiguous()
            else:
                assert "e_score_correction_bias" in key, key
    row = tokens[0, :3].tolist()
    with torch.no_grad():
        for _ in range(24):
            row.append(int(model(torch.tensor([row])).logits[0, -1].argmax()))
    expected["greedy"] = torch.tensor(row[3:]).int()
    save_file({k: v.clone().contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    print(name, sum(p.numel() for p in model.parameters()), "loss", float(out.loss), "greedy", row[3:9])
