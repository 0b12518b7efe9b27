#include "model/builder.h"

#include <cmath>
#include <vector>

#include "formats/weight_source.h"
#include "tensor/transfer.h"

namespace r1 {

Parameter* ModelBuilder::add(const std::string& name, Shape shape, DType dtype) {
  if (weights_ != nullptr)
    weights_->check(name, shape, [this](int64_t size) { return fields_of_size(config_, size); });
  Parameter& p = model_.parameters_->emplace_back();
  p.name = name;
  if (model_.frozen_ && shape.rank() == 2) {
    p.value.shape = shape;
    p.value.dtype = dtype;
    p.stored = weights_->take(name, shape);
  } else {
    model_.storage_.emplace_back(shape, dtype, *model_.memory_);
    p.value = model_.storage_.back().tensor();
  }
  return &p;
}

Parameter* ModelBuilder::matrix(const std::string& name, int64_t rows, int64_t columns) {
  return add(name, Shape{rows, columns}, model_.matrices_);
}

Parameter* ModelBuilder::vector(const std::string& name, int64_t size, float initial, bool trainable) {
  Parameter* p = add(name, Shape{size}, DType::f32);
  write_values(*model_.memory_, p->value, 0, std::vector<float>(static_cast<size_t>(size), initial));
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

float ModelBuilder::query_scale(int64_t width, double factor) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(width)) * factor);
}

void ModelBuilder::build() {
  const int64_t d = config_.hidden_size;
  Parameter* embedding = matrix("model.embed_tokens.weight", config_.vocab_size, d);
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    Block& block = model_.blocks_.emplace_back();
    const std::string prefix = "model.layers." + std::to_string(layer);
    block.eps = config_.rms_norm_eps;
    block.attention_norm = vector(prefix + ".input_layernorm.weight", d, 1.0f);
    if (config_.is_latent()) {
      deepseek_block(layer, block);
    } else {
      llama_block(layer, block);
    }
  }
  model_.norm_ = vector("model.norm.weight", d, 1.0f);
  if (config_.value_head) {
    model_.embedding_ = Weight(embedding, nullptr, Weight::Layout::rows);
    model_.head_ = weight("score", 1, d);
  } else if (config_.tie_word_embeddings) {
    model_.head_ = Weight(embedding);
  } else {
    model_.embedding_ = Weight(embedding, nullptr, Weight::Layout::rows);
    model_.head_ = weight("lm_head", config_.vocab_size, d);
  }
  for (int64_t i = 0; i < config_.prediction_layers; ++i)
    model_.predictions_.push_back(prediction(config_.layers + i));

  const RopeFrequencies frequencies = rope_frequencies(config_.rope, config_.rope_width());
  model_.rope_ = RopeTable(frequencies.inverse, frequencies.attention_factor, config_.max_positions);
}

}  // namespace r1
