// model/llama.cc: llama, qwen2, qwen3 and qwen3_moe: grouped-query attention, half-rotated rope, a dense MLP
// or experts. Qwen2 has biases on q, k and v, Qwen3 a norm on every head of q and k (arXiv 2505.09388), llama
// neither.
#include "model/builder.h"

namespace r1 {

void ModelBuilder::llama_block(int64_t layer, Block& block) {
  const std::string prefix = "model.layers." + std::to_string(layer);
  const int64_t d = config_.hidden_size;
  GroupedAttention attention;
  attention.heads = config_.heads;
  attention.kv_heads = config_.kv_heads;
  attention.head_dim = config_.head_dim;
  attention.q = weight(prefix + ".self_attn.q_proj", config_.heads * config_.head_dim, d, config_.qkv_bias);
  attention.k =
      weight(prefix + ".self_attn.k_proj", config_.kv_heads * config_.head_dim, d, config_.qkv_bias);
  attention.v =
      weight(prefix + ".self_attn.v_proj", config_.kv_heads * config_.head_dim, d, config_.qkv_bias);
  attention.o = weight(prefix + ".self_attn.o_proj", d, config_.heads * config_.head_dim, config_.o_bias);
  attention.scale = query_scale(config_.head_dim);
  if (config_.qk_norm) {
    attention.q_norm = vector(prefix + ".self_attn.q_norm.weight", config_.head_dim, 1.0f);
    attention.k_norm = vector(prefix + ".self_attn.k_norm.weight", config_.head_dim, 1.0f);
    attention.eps = config_.rms_norm_eps;
  }
  block.attention = std::move(attention);
  block.mlp_norm = vector(prefix + ".post_attention_layernorm.weight", d, 1.0f);
  if (config_.is_moe_layer(layer)) {
    block.mlp = experts(prefix + ".mlp");
  } else {
    block.mlp = mlp(prefix + ".mlp", config_.intermediate_size, config_.mlp_bias);
  }
}

}  // namespace r1
