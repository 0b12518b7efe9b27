// model/moe_layer.cc: the mixture of experts of DeepSeek-V2, DeepSeek-V3 and Qwen3: the same tensors, but V3
// alone has a selection bias, and Qwen3 has no shared experts.
#include "model/builder.h"

namespace r1 {

MoeLayer ModelBuilder::experts(const std::string& prefix) {
  const ModelConfig& c = config_;
  MoeLayer moe;
  moe.routed.config = c.moe;
  moe.routed.router = weight(prefix + ".gate", c.moe.experts, c.hidden_size);
  if (c.has_selection_bias()) {
    moe.routed.bias =
        vector(prefix + ".gate.e_score_correction_bias", c.moe.experts, 0.0f, /*trainable=*/false);
  }
  for (int64_t e = 0; e < c.moe.experts; ++e) {
    Mlp expert = mlp(prefix + ".experts." + std::to_string(e), c.moe_intermediate_size);
    moe.routed.experts.push_back({std::move(expert.gate), std::move(expert.up), std::move(expert.down)});
  }
  if (c.shared_experts > 0) {
    moe.shared = mlp(prefix + ".shared_experts", c.moe_intermediate_size * c.shared_experts);
  }
  return moe;
}

}  // namespace r1
