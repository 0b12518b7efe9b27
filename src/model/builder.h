// model/builder.h: declares a family's parameters, by name and shape, in checkpoint order.
#pragma once

#include <string>

#include "model/model.h"

namespace r1 {

class ModelBuilder {
 public:
  ModelBuilder(Model& model, const WeightSource* weights)
      : model_(model), config_(model.config_), weights_(weights) {}

  // Builds all parameters. Each family fills every block; the embedding, the last norm and the head are
  // common.
  void build();

 private:
  Parameter* matrix(const std::string& name, int64_t rows, int64_t columns);
  Parameter* vector(const std::string& name, int64_t size, float initial, bool trainable = true);
  Weight weight(const std::string& prefix, int64_t n, int64_t k,
                bool bias = false);  // prefix.weight, prefix.bias
  Mlp mlp(const std::string& prefix, int64_t width, bool bias = false);
  // The factor of attention scores: factor / sqrt(width).
  static float query_scale(int64_t width, double factor = 1.0);
  Parameter* add(const std::string& name, Shape shape, DType dtype);

  PredictionModule prediction(int64_t layer);        // prediction.cc: the modules of multi-token prediction
  MoeLayer experts(const std::string& prefix);       // moe_layer.cc: prefix.gate, prefix.experts.E, ...
  void deepseek_block(int64_t layer, Block& block);  // deepseek.cc: deepseek_v2 and deepseek_v3
  void llama_block(int64_t layer, Block& block);     // llama.cc: llama, qwen2, qwen3 and qwen3_moe

  Model& model_;
  const ModelConfig& config_;
  const WeightSource* weights_;  // nullptr: a new model
};

}  // namespace r1
