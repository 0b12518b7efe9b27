#include "model/plan.h"

#include <algorithm>
#include <cmath>

#include "model/kv_cache.h"
#include "model/memory.h"
#include "model/model.h"

namespace r1 {
namespace {

// Bits per weight with the scales of blocks. Block types: (values' bits x block + scales) / block, for example
// Q8_0: (8 x 32 + 16) / 32. The mixtures Q5_K_M, Q4_K_M and IQ4_XS are those of llama.cpp's 7B models, measured
// over the whole file.
constexpr WeightType kWeightTypes[] = {
    {"f32", 32},     {"bf16", 16},     {"fp8", 8.002}, {"Q8_0", 8.5},   {"Q6_K", 6.5625},
    {"Q5_K_M", 5.7}, {"Q4_K_M", 4.85}, {"Q4_0", 4.55}, {"IQ4_XS", 4.3}, {"Q3_K_M", 3.9},
};

bool is_routed(std::string_view name) {
  return name.find(".mlp.experts.") != std::string_view::npos;
}

}  // namespace

std::span<const WeightType> weight_types() {
  return kWeightTypes;
}

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

int64_t file_bytes(const ModelSizes& sizes, double bits) {
  return static_cast<int64_t>(static_cast<double>(sizes.matrices) * bits / 8) +
         (sizes.all - sizes.matrices) * 4;
}

double step_weight_bytes(const ModelConfig& config, const ModelSizes& sizes, double bits, int64_t batch) {
  double routed = 0;
  if (sizes.routed > 0) {
    const double share = static_cast<double>(config.moe.active) / static_cast<double>(config.moe.experts);
    routed = static_cast<double>(sizes.routed) * (1 - std::pow(1 - share, static_cast<double>(batch)));
  }
  const double rest = static_cast<double>(sizes.all - sizes.routed - sizes.embedding);
  return (routed + rest) * bits / 8;
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

ContextMemory context_memory(const ModelConfig& config, Numerics numerics, int64_t context, int64_t chunk,
                             int threads) {
  const ModelMemory model = model_memory(config, numerics, activation_dtype(numerics), WeightUse::inference);
  ContextMemory out;
  out.weights = model.weights + model.packed;
  out.cache = KvCache::pages_for(context) * KvCache::bytes_per_page(config, row_of(numerics).cache);
  out.activations = sampling_activations(
      config, numerics,
      {.tokens = std::min(chunk, context), .sequences = 1, .prompt = context, .keys = context}, threads);
  return out;
}

int64_t largest_context(const ModelConfig& config, Numerics numerics, int64_t memory, int64_t chunk,
                        int threads) {
  const ContextMemory least = context_memory(config, numerics, kKeyTile, chunk, threads);
  const auto fits = [&](int64_t pages) {
    if (least.weights + pages * KvCache::bytes_per_page(config, row_of(numerics).cache) > memory)
      return false;
    const int64_t context = std::min(pages * kKeyTile, config.max_positions);
    return context_memory(config, numerics, context, chunk, threads).total() <= memory;
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
