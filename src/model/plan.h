// model/plan.h: arithmetic about a model before it is loaded: sizes by type, memory by context, bytes and
// FLOPs per token, and what its training cost.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"
#include "tensor/numerics.h"

namespace r1 {

// Numbers of parameters.
struct ModelSizes {
  int64_t all = 0;
  int64_t active = 0;    // those that a token passes: without experts that are not chosen
  int64_t matrices = 0;  // in matrices; the rest are norms and biases, which are always f32
  int64_t embedding =
      0;               // in the table of embeddings, if it is not also the head's matrix: a token reads a row
  int64_t routed = 0;  // in routed experts
};
ModelSizes model_sizes(const ModelConfig& config);

// A type of weights in files, with its bits per weight of a whole model (mixtures of types on average).
struct WeightType {
  std::string_view name;
  double bits;
};
std::span<const WeightType> weight_types();

// Bytes of the weights in a file.
int64_t file_bytes(const ModelSizes& sizes, double bits);
// Bytes of weights that one step of `batch` sequences reads. Of routed experts, each token takes its own; their
// expected number is counted.
double step_weight_bytes(const ModelConfig& config, const ModelSizes& sizes, double bits, int64_t batch);
// Bytes of keys and values per token of context.
int64_t kv_bytes_per_token(const ModelConfig& config, DType type);

// FLOPs of a forward per token whose context has `context` tokens on average: two per active weight, and the
// scores and sums of attention.
double forward_flops(const ModelConfig& config, const ModelSizes& sizes, double context);

// Bytes that a sampler of one sequence needs at this context: weights, cache and activations, as measured by
// running its ops without memory (model/memory.h). `chunk` tokens of a prompt are read at a time.
struct ContextMemory {
  int64_t weights = 0;  // as the kernels hold them
  int64_t cache = 0, activations = 0;
  int64_t total() const { return weights + cache + activations; }
};
ContextMemory context_memory(const ModelConfig& config, Numerics numerics, int64_t context, int64_t chunk,
                             int threads);
// Returns the largest context, up to the model's own, whose total is at most `memory`; 0 if not even one page
// of keys fits.
int64_t largest_context(const ModelConfig& config, Numerics numerics, int64_t memory, int64_t chunk,
                        int threads);

}  // namespace r1
