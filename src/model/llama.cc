// model/llama.cc: llama and qwen2: grouped-query attention, half-rotated rope, a dense MLP.
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
  block.attention = std::move(attention);
  block.mlp_norm = vector(prefix + ".post_attention_layernorm.weight", d, 1.0f);
  block.mlp = mlp(prefix + ".mlp", config_.intermediate_size, config_.mlp_bias);
}

}  // namespace r1
