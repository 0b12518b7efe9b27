"""Writes tests/golden/models-fp8: a tiny DeepSeek-V3 checkpoint in FP8, as R1 is published, with transformers' logits of the same weights
dequantised by PyTorch in fp32.

    python tests/ref/make_fp8_golden.py        # needs torch and transformers 5

Widths are above 128 and no multiples of it, so that there are several blocks and cut ones. Matrices of the layers are F8_E4M3 with
weight_scale_inv; embedding, head, norms and routers are not. Two shards. Layer 2 is a layer of multi-token prediction (R1's has the
number 61), which transformers ignores. codes.safetensors has all 256 codes and PyTorch's numbers of them.
"""
import json
import pathlib
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "models-fp8"
BLOCK = 128


def quantised(weight):
    rows, columns = weight.shape
    scales = torch.empty(-(-rows // BLOCK), -(-columns // BLOCK))
    codes = torch.empty(rows, columns, dtype=torch.float8_e4m3fn)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            part = (slice(i * BLOCK, (i + 1) * BLOCK), slice(j * BLOCK, (j + 1) * BLOCK))
            scales[i, j] = weight[part].abs().max() / 448
            codes[part] = (weight[part] / scales[i, j]).to(torch.float8_e4m3fn)
    return codes, scales


def dequantised(codes, scales):
    wide = scales.repeat_interleave(BLOCK, 0)[:codes.shape[0]].repeat_interleave(BLOCK, 1)[:, :codes.shape[1]]
    return codes.float() * wide


def main():
    torch.manual_seed(61)
    config = DeepseekV3Config(
        vocab_size=41, hidden_size=140, intermediate_size=150, moe_intermediate_size=33, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2, n_group=2, topk_group=1,
        first_k_dense_replace=1, q_lora_rank=131, kv_lora_rank=129, qk_rope_head_dim=6, qk_nope_head_dim=7, v_head_dim=9,
        num_nextn_predict_layers=1, max_position_embeddings=64, bos_token_id=0, eos_token_id=1, tie_word_embeddings=False)
    model = DeepseekV3ForCausalLM(config).float().eval()
    model.set_experts_implementation("eager")
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.normal_(0, 0.12) if p.ndim > 1 else p.normal_(1.0 if "norm" in key else 0.0, 0.2)
        for key, b in model.named_buffers():
            if "e_score_correction_bias" in key:
                b.normal_(0, 0.2)
    shutil.rmtree(OUT, ignore_errors=True)
    model.save_pretrained(OUT / "plain")
    tensors = load_file(OUT / "plain" / "model.safetensors")
    shards, dequant = [{}, {}], {}
    for name, value in tensors.items():
        shard = shards[1 if ".layers.1." in name else 0]
        if value.ndim == 2 and ".layers." in name and ".gate.weight" not in name:
            codes, scales = quantised(value)
            shard[name], shard[name + "_scale_inv"] = codes, scales
            dequant[name] = dequantised(codes, scales)
        else:
            value = value.bfloat16() if value.ndim == 2 else value
            shard[name], dequant[name] = value, value.float()
    shards[1]["model.layers.2.eh_proj.weight"], shards[1]["model.layers.2.eh_proj.weight_scale_inv"] = quantised(torch.randn(4, 280))
    shards[1]["model.layers.2.enorm.weight"] = torch.ones(140)
    index = {}
    for i, shard in enumerate(shards):
        file = f"model-0000{i + 1}-of-00002.safetensors"
        save_file({k: v.contiguous() for k, v in shard.items()}, OUT / file)
        index |= {name: file for name in shard}
    (OUT / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}, indent=1) + "\n")
    save_file({k: v.contiguous() for k, v in dequant.items()}, OUT / "plain" / "model.safetensors")
    loaded = DeepseekV3ForCausalLM.from_pretrained(OUT / "plain", dtype=torch.float32).eval()
    loaded.set_experts_implementation("eager")
    tokens = torch.randint(2, 41, (2, 23))
    with torch.no_grad():
        logits = loaded(tokens).logits
    save_file({"tokens": tokens.int(), "logits": logits.contiguous()}, OUT / "expected.safetensors")
    settings = json.loads((OUT / "plain" / "config.json").read_text())
    settings["quantization_config"] = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                                       "weight_block_size": [BLOCK, BLOCK]}
    settings["num_nextn_predict_layers"] = 1
    settings["dtype"] = "bfloat16"
    (OUT / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    shutil.rmtree(OUT / "plain")
    every = torch.arange(256, dtype=torch.uint8)
    save_file({"codes": every, "values": every.view(torch.float8_e4m3fn).float()}, OUT / "codes.safetensors")
    for path in sorted(OUT.iterdir()):
        print(path.name, path.stat().st_size)


main()
