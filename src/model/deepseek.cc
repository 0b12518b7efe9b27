// model/deepseek.cc: DeepSeek-V2 (arXiv 2405.04434), DeepSeek-V3 and R1 (arXiv 2412.19437): latent attention,
// then a dense MLP in the first layers and a mixture of experts in the others. Their routers differ.
#include "model/builder.h"

namespace r1 {

void ModelBuilder::deepseek_block(int64_t layer, Block& block) {
  const std::string prefix = "model.layers." + std::to_string(layer);
  const ModelConfig& c = config_;
  LatentAttention attention;
  attention.heads = c.heads;
  attention.nope = c.qk_nope_head_dim;
  attention.rope = c.qk_rope_head_dim;
  attention.latent = c.kv_lora_rank;
  attention.value = c.v_head_dim;
  attention.style = c.rope_interleave ? RopeStyle::interleaved : RopeStyle::half;
  attention.scale = query_scale(c.qk_nope_head_dim + c.qk_rope_head_dim, latent_score_factor(c.rope));
  const std::string self = prefix + ".self_attn.";
  const int64_t query = c.heads * (c.qk_nope_head_dim + c.qk_rope_head_dim);
  if (c.q_lora_rank == 0) {
    attention.q = weight(self + "q_proj", query, c.hidden_size);
  } else {
    attention.q_a = weight(self + "q_a_proj", c.q_lora_rank, c.hidden_size, c.lora_bias);
    attention.q_norm = vector(self + "q_a_layernorm.weight", c.q_lora_rank, 1.0f);
    attention.q = weight(self + "q_b_proj", query, c.q_lora_rank);
  }
  attention.kv_a =
      weight(self + "kv_a_proj_with_mqa", c.kv_lora_rank + c.qk_rope_head_dim, c.hidden_size, c.lora_bias);
  attention.kv_norm = vector(self + "kv_a_layernorm.weight", c.kv_lora_rank, 1.0f);
  Parameter* kv_b =
      matrix(self + "kv_b_proj.weight", c.heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank);
  attention.kv_b = LatentWeight(kv_b, c.heads, c.qk_nope_head_dim, c.v_head_dim);
  attention.o = weight(self + "o_proj", c.hidden_size, c.heads * c.v_head_dim, c.lora_bias);
  block.attention = std::move(attention);
  block.mlp_norm = vector(prefix + ".post_attention_layernorm.weight", c.hidden_size, 1.0f);

  if (!c.is_moe_layer(layer)) {
    block.mlp = mlp(prefix + ".mlp", c.intermediate_size);
    return;
  }
  block.mlp = experts(prefix + ".mlp");
}

}  // namespace r1
