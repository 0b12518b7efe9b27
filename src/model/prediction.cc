#include "model/prediction.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "formats/weight_source.h"
#include "model/builder.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embed/embed.h"
#include "ops/norm/norm.h"

namespace r1 {

int64_t layer_of(std::string_view name) {
  constexpr std::string_view kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) return -1;
  name.remove_prefix(kLayers.size());
  const size_t dot = name.find('.');
  constexpr size_t kDigits = 9;
  if (dot == std::string_view::npos || dot == 0 || dot > kDigits ||
      name.find_first_not_of("0123456789") != dot)
    return -1;
  return std::stoll(std::string(name.substr(0, dot)));
}

void take_prediction_layers(ModelConfig& config, const WeightSource& weights, Predictions which,
                            const std::string& source) {
  if (config.declared_prediction_layers == 0) return;
  const std::string prefix = fmt::format("model.layers.{}.", config.layers);
  const auto& names = weights.names();
  const auto has = [&](std::string_view name) {
    return std::ranges::binary_search(names, prefix + std::string(name));
  };
  if (std::ranges::none_of(names, [&](const std::string& name) { return name.starts_with(prefix); })) {
    if (which == Predictions::head) {
      config.warnings.push_back(fmt::format(
          "{}: num_nextn_predict_layers is {}, and the weights have no layer {}: guesses come from "
          "prompt look-up alone",
          source, config.declared_prediction_layers, config.layers));
    }
    return;
  }
  if (which == Predictions::head) {
    config.prediction_layers = 1;
    return;
  }
  config.prediction_layers = config.declared_prediction_layers;
  config.prediction_embedding = has("embed_tokens.weight");
  config.prediction_output = has("shared_head.head.weight");
}

PredictionModule ModelBuilder::prediction(int64_t layer) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const int64_t d = config_.hidden_size;
  try {
    PredictionModule module;
    if (config_.prediction_embedding) matrix(prefix + "embed_tokens.weight", config_.vocab_size, d);
    module.token_norm = vector(prefix + "enorm.weight", d, 1.0f);
    module.hidden_norm = vector(prefix + "hnorm.weight", d, 1.0f);
    module.join = weight(prefix + "eh_proj", d, 2 * d);
    module.block.eps = config_.rms_norm_eps;
    module.block.attention_norm = vector(prefix + "input_layernorm.weight", d, 1.0f);
    deepseek_block(layer, module.block);
    module.norm = vector(prefix + "shared_head.norm.weight", d, 1.0f);
    if (config_.prediction_output) matrix(prefix + "shared_head.head.weight", config_.vocab_size, d);
    return module;
  } catch (const Error& e) {
    throw Error(fmt::format("{} (layer {} is the MTP head; --lookahead 0 does without it)", e.what(), layer));
  }
}

Tensor Model::predict(Context& ctx, const Batch& batch, const KvCache& kv, const Tensor& hidden) const {
  R1_CHECK(predicts() && hidden.dim(0) == batch.T(), hidden.shape.str(), " of ", batch.T(), " tokens");
  const PredictionModule& module = predictions_.front();
  const float eps = config_.rms_norm_eps;
  const Tensor token = rms_norm(ctx, embed(ctx, batch.tokens, table()), *module.token_norm, eps);
  const Tensor before = rms_norm(ctx, hidden, *module.hidden_norm, eps);
  const Tensor x = matmul(ctx, join_columns(ctx, token, before), module.join, DType::f32);
  return module.block.forward(ctx, batch, kv.layer(config_.layers), rope_, x, {});
}

Tensor Model::predicted_logits(Context& ctx, const Tensor& x) const {
  const Tensor normed = rms_norm(ctx, x, *predictions_.front().norm, config_.rms_norm_eps);
  return matmul(ctx, normed, head_, DType::f32);
}

}  // namespace r1
