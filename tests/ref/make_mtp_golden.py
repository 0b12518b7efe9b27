"""Writes tests/golden/models-mtp: a tiny DeepSeek-V3 checkpoint with a module of multi-token prediction (layer 2), and its answers.

    python tests/ref/make_mtp_golden.py        # needs torch and transformers 5

transformers has no such modules. So the module is written here from its definition (DeepSeek-V3's report, section 2.2, and vLLM's
and SGLang's use of the published weights: eh_proj reads the token's half first, and the hidden states come from after the model's
last norm), around transformers' own decoder layer. expected.safetensors: tokens [B, T]; logits [B, T, V] of the model; guesses
[B, T - 1, V], the module's logits at position t of token t + 2, from the model's output at t and token t + 1; and chained
[B, T - 2, V], its logits when it goes on from its own output, as for a second guess: from guesses' hidden states at t and token t + 2.
In chained, the keys of position t + 1 are those of this second use, and those before are the first's.
"""
import json
import pathlib

import torch
from safetensors.torch import load_file, save_file
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3DecoderLayer, DeepseekV3RMSNorm

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "models-mtp"
LAYER = 2


class Module(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        d, eps = config.hidden_size, config.rms_norm_eps
        self.enorm, self.hnorm = DeepseekV3RMSNorm(d, eps), DeepseekV3RMSNorm(d, eps)
        self.eh_proj = torch.nn.Linear(2 * d, d, bias=False)
        self.block = DeepseekV3DecoderLayer(config, LAYER)
        self.norm = DeepseekV3RMSNorm(d, eps)

    def forward(self, model, tokens, hidden):
        x = self.eh_proj(torch.cat([self.enorm(model.model.embed_tokens(tokens)), self.hnorm(hidden)], dim=-1))
        T = tokens.shape[1]
        positions = torch.arange(T)[None]
        mask = torch.full((1, 1, T, T), float("-inf")).triu(1)
        return self.block(x, attention_mask=mask, position_ids=positions,
                          position_embeddings=model.model.rotary_emb(x, positions))

    def logits(self, model, x):
        return model.lm_head(self.norm(x))


def main():
    torch.manual_seed(14)
    config = DeepseekV3Config(
        vocab_size=41, hidden_size=26, intermediate_size=35, moe_intermediate_size=11, num_hidden_layers=LAYER, num_attention_heads=3,
        num_key_value_heads=3, n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=3, n_group=4, topk_group=2,
        first_k_dense_replace=1, q_lora_rank=10, kv_lora_rank=13, qk_rope_head_dim=6, qk_nope_head_dim=7, v_head_dim=9,
        routed_scaling_factor=2.5, num_nextn_predict_layers=1, max_position_embeddings=256, bos_token_id=0, eos_token_id=1,
        tie_word_embeddings=False, rope_theta=10000.0)
    config._attn_implementation = "eager"
    model = DeepseekV3ForCausalLM(config).float().eval()
    module = Module(config).float().eval()
    for part in (model, module.block.mlp):
        if hasattr(part, "set_experts_implementation"):
            part.set_experts_implementation("eager")
    with torch.no_grad():
        for whole in (model, module):
            for key, p in whole.named_parameters():
                p.normal_(0, 0.25) if p.ndim > 1 else p.normal_(1.0 if "norm" in key else 0.0, 0.2)
            for key, b in whole.named_buffers():
                if "e_score_correction_bias" in key:
                    b.normal_(0, 0.2)
    model.save_pretrained(OUT)
    tensors = load_file(OUT / "model.safetensors")
    # save_pretrained of a model of one more layer writes the layer's experts one by one, as published checkpoints have them.
    config.num_hidden_layers = LAYER + 1
    larger = DeepseekV3ForCausalLM(config).float()
    larger.model.layers[LAYER].load_state_dict(module.block.state_dict())
    larger.save_pretrained(OUT)
    prefix = f"model.layers.{LAYER}."
    tensors |= {name: value for name, value in load_file(OUT / "model.safetensors").items() if name.startswith(prefix)}
    tensors[prefix + "enorm.weight"], tensors[prefix + "hnorm.weight"] = module.enorm.weight, module.hnorm.weight
    tensors[prefix + "eh_proj.weight"], tensors[prefix + "shared_head.norm.weight"] = module.eh_proj.weight, module.norm.weight
    # The copies that published checkpoints have.
    tensors[prefix + "embed_tokens.weight"] = model.model.embed_tokens.weight
    tensors[prefix + "shared_head.head.weight"] = model.lm_head.weight
    save_file({name: value.detach().clone().contiguous() for name, value in tensors.items()}, OUT / "model.safetensors",
              metadata={"format": "pt"})
    settings = json.loads((OUT / "config.json").read_text())
    settings["num_hidden_layers"], settings["num_nextn_predict_layers"] = LAYER, 1
    settings.pop("_attn_implementation", None)
    (OUT / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    (OUT / "generation_config.json").unlink(missing_ok=True)

    tokens = torch.randint(2, 41, (2, 37))
    with torch.no_grad():
        hidden = model.model(tokens).last_hidden_state
        first = module(model, tokens[:, 1:], hidden[:, :-1])
        chained = []
        for t in range(tokens.shape[1] - 2):  # the keys of positions up to t are the first's; that of t + 1 is the second's
            mixed = torch.cat([hidden[:, :t + 1], first[:, t:t + 1]], dim=1)
            chained.append(module.logits(model, module(model, tokens[:, 1:t + 3], mixed))[:, -1])
        save_file({"tokens": tokens.int(), "logits": model.lm_head(hidden).contiguous(),
                   "guesses": module.logits(model, first).contiguous(), "chained": torch.stack(chained, 1).contiguous()},
                  OUT / "expected.safetensors")
    for path in sorted(OUT.iterdir()):
        print(path.name, path.stat().st_size)


main()
