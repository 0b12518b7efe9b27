#include "model/plan.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "model/kv_cache.h"
#include "model/model.h"
#include "model/quantize_plan.h"

namespace r1 {
namespace {

constexpr double kBitsOfByte = 8;
// FP8's scales: one f32 for 128 x 128 numbers.
constexpr double kFp8Bits = kBitsOfByte + 32.0 / (128 * 128);
// Types of `r1 quantize` that are shown, best first.
constexpr std::string_view kShownTypes[] = {"Q8_0", "Q6_K",   "Q5_K_M", "Q4_K_M",
                                            "Q4_0", "IQ4_XS", "Q3_K_M", "Q2_K"};

SamplingShape sampler_of(int64_t context, int64_t chunk) {
  return {.tokens = std::min(chunk, context), .sequences = 1, .prompt = context, .keys = context};
}

bool is_routed(std::string_view name) {
  return name.find(".mlp.experts.") != std::string_view::npos;
}

}  // namespace

ModelSizes model_sizes(const ModelConfig& config) {
  NoMemory memory;
  const Model model = Model::shape_only(config, DType::bf16, memory, WeightUse::inference);
  ModelSizes out;
  for (const Parameter& p : model.parameters()) {
    const int64_t count = p.value.shape.count();
    out.all += count;
    if (p.value.shape.rank() == 2) out.matrices += count;
    if (is_routed(p.name)) out.routed += count;
  }
  out.active = model.active_parameter_count();
  if (!config.tie_word_embeddings) out.embedding = config.vocab_size * config.hidden_size;
  return out;
}

int64_t file_bytes(const ModelConfig& config, const WeightFormats& formats) {
  NoMemory nothing;
  const Model shapes = Model::shape_only(config, DType::bf16, nothing, WeightUse::inference);
  int64_t bytes = 0;
  for (const Parameter& p : shapes.parameters()) {
    const Format format = p.value.shape.rank() == 2 ? formats.of(p.name) : Format::f32;
    const int64_t count = p.value.shape.count();
    bytes += is_blocks(format) ? bytes_of(format, count) : count * static_cast<int64_t>(size_of(format));
  }
  return bytes;
}

std::vector<TypeSize> type_sizes(const ModelConfig& config) {
  const ModelSizes sizes = model_sizes(config);
  const int64_t vectors = (sizes.all - sizes.matrices) * 4;
  std::vector<TypeSize> list;
  const auto add = [&](std::string_view name, int64_t bytes) {
    list.push_back({std::string(name),
                    kBitsOfByte * static_cast<double>(bytes) / static_cast<double>(sizes.all), bytes});
  };
  add("F32", sizes.matrices * 4 + vectors);
  add("BF16", sizes.matrices * 2 + vectors);
  add("FP8", static_cast<int64_t>(static_cast<double>(sizes.matrices) * kFp8Bits / kBitsOfByte) + vectors);
  for (const std::string_view name : kShownTypes) {
    try {
      add(name, file_bytes(config, quantised_formats(config, quantize_preset(name, "--type"))));
    } catch (const Error&) {  // no matrix fits a block
    }
  }
  return list;
}

double step_weight_bytes(const ModelConfig& config, const HeldMatrices& held, int64_t batch) {
  double routed = 0;
  if (held.routed > 0) {
    const double share = static_cast<double>(config.moe.active) / static_cast<double>(config.moe.experts);
    routed = static_cast<double>(held.routed) * (1 - std::pow(1 - share, static_cast<double>(batch)));
  }
  return routed + static_cast<double>(held.all - held.routed - held.embedding);
}

int64_t kv_bytes_per_token(const ModelConfig& config, DType type) {
  return KvCache::bytes_per_page(config, type) / kKeyTile;
}

double forward_flops(const ModelConfig& config, const ModelSizes& sizes, double context) {
  // A query head multiplies with keys of this width and sums values of that width, per position of context. The
  // latent form of deepseek_v3 is the decoder's; a trainer may expand it, which takes fewer.
  const bool latent = config.family == Family::deepseek_v3;
  const double key =
      static_cast<double>(latent ? config.qk_nope_head_dim + config.qk_rope_head_dim : config.head_dim);
  const double value = static_cast<double>(latent ? config.v_head_dim : config.head_dim);
  const double attention = 2 * static_cast<double>(config.layers * config.heads) * (key + value) * context;
  return 2 * static_cast<double>(sizes.active - sizes.embedding) + attention;
}

ContextMemory context_memory(const ModelConfig& config, Numerics numerics, const WeightFormats& formats,
                             int64_t context, int64_t chunk, int threads) {
  const ModelMemory model =
      model_memory(config, numerics, activation_dtype(numerics), WeightUse::inference, &formats);
  ContextMemory out;
  out.weights = model.weights + model.packed;
  out.cache = KvCache::pages_for(context) * KvCache::bytes_per_page(config, row_of(numerics).cache);
  out.activations = sampling_activations(config, numerics, sampler_of(context, chunk), threads);
  return out;
}

int64_t prediction_bytes(const ModelConfig& config, Numerics numerics, const WeightFormats& formats,
                         int64_t context) {
  if (config.declared_prediction_layers == 0) return 0;
  ModelConfig with = config;
  with.prediction_layers = 1;
  const auto bytes = [&](const ModelConfig& c) {
    const ModelMemory model =
        model_memory(c, numerics, activation_dtype(numerics), WeightUse::guessing, &formats);
    return model.weights + model.packed +
           KvCache::pages_for(context) * KvCache::bytes_per_page(c, row_of(numerics).cache);
  };
  return bytes(with) - bytes(config);
}

int64_t largest_context(const ModelConfig& config, Numerics numerics, const WeightFormats& formats,
                        int64_t memory, int64_t chunk, int threads) {
  const ContextMemory least = context_memory(config, numerics, formats, kKeyTile, chunk, threads);
  const int64_t page = KvCache::bytes_per_page(config, row_of(numerics).cache);
  const auto fits = [&](int64_t pages) {
    if (least.weights + pages * page > memory) return false;
    const int64_t context = std::min(pages * kKeyTile, config.max_positions);
    const int64_t activations = sampling_activations(config, numerics, sampler_of(context, chunk), threads);
    return least.weights + pages * page + activations <= memory;
  };
  if (least.total() > memory) return 0;
  int64_t low = 1, high = KvCache::pages_for(config.max_positions);
  if (fits(high)) return config.max_positions;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low * kKeyTile;
}

}  // namespace r1
