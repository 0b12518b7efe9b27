#include "model/builder.h"

#include <algorithm>
#include <vector>

#include "base/math.h"

namespace r1 {

Parameter* ModelBuilder::add(const std::string& name, Shape shape) {
  model_.storage_.emplace_back(shape, DType::f32);
  Parameter& p = model_.parameters_->emplace_back();
  p.name = name;
  p.value = model_.storage_.back().tensor();
  return &p;
}

Parameter* ModelBuilder::matrix(const std::string& name, int64_t rows, int64_t columns) {
  return add(name, Shape{rows, columns});
}

Parameter* ModelBuilder::vector(const std::string& name, int64_t size, float initial, bool trainable) {
  Parameter* p = add(name, Shape{size});
  std::ranges::fill(p->value.values(), initial);
  p->trainable = trainable;
  return p;
}

Weight ModelBuilder::weight(const std::string& prefix, int64_t n, int64_t k, bool bias) {
  Parameter* dense = matrix(prefix + ".weight", n, k);
  return Weight(dense, bias ? vector(prefix + ".bias", n, 0.0f) : nullptr);
}

Mlp ModelBuilder::mlp(const std::string& prefix, int64_t width, bool bias) {
  const int64_t d = config_.hidden_size;
  Mlp mlp;
  mlp.gate = weight(prefix + ".gate_proj", width, d, bias);
  mlp.up = weight(prefix + ".up_proj", width, d, bias);
  mlp.down = weight(prefix + ".down_proj", d, width, bias);
  return mlp;
}

void ModelBuilder::build() {
  const int64_t d = config_.hidden_size;
  model_.embedding_ = matrix("model.embed_tokens.weight", config_.vocab_size, d);
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    Block& block = model_.blocks_.emplace_back();
    const std::string prefix = "model.layers." + std::to_string(layer);
    block.eps = config_.rms_norm_eps;
    block.attention_norm = vector(prefix + ".input_layernorm.weight", d, 1.0f);
    if (config_.family == Family::deepseek_v3) {
      deepseek_v3_block(layer, block);
    } else {
      llama_block(layer, block);
    }
  }
  model_.norm_ = vector("model.norm.weight", d, 1.0f);
  model_.head_ =
      config_.tie_word_embeddings ? Weight(model_.embedding_) : weight("lm_head", config_.vocab_size, d);

  const int64_t width = config_.family == Family::deepseek_v3 ? config_.qk_rope_head_dim : config_.head_dim;
  std::vector<float> inv_freq;
  for (int64_t i = 0; i < width; i += 2) {
    inv_freq.push_back(static_cast<float>(
        exact_pow(config_.rope_theta, -static_cast<double>(i) / static_cast<double>(width))));
  }
  model_.rope_ = RopeTable(inv_freq, 1.0f, config_.max_positions);
}

}  // namespace r1
