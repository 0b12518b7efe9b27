// model/plan.h: arithmetic about a model before it is loaded: sizes by type, memory by context, bytes and
// FLOPs per token, and what its training cost.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"
#include "model/memory.h"
#include "model/weight_formats.h"
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

// The size of a model's weights in a file of some type.
struct TypeSize {
  std::string name;  // "Q4_K_M"
  double bits = 0;   // per weight of the whole model, scales included
  int64_t bytes = 0;
};
// The model's sizes as F32, BF16 and FP8, and in the mixtures that `r1 quantize --type` makes, best first.
// Mixtures whose blocks no matrix fits are left out.
std::vector<TypeSize> type_sizes(const ModelConfig& config);
// The size of a file whose matrices have these formats. Vectors are f32.
int64_t file_bytes(const ModelConfig& config, const WeightFormats& formats);

// Bytes of weights that one step of `batch` tokens reads, of matrices as the kernels hold them. Of routed experts,
// each token takes its own; their expected number is counted.
double step_weight_bytes(const ModelConfig& config, const HeldMatrices& held, int64_t batch);
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
ContextMemory context_memory(const ModelConfig& config, Numerics numerics, const WeightFormats& formats,
                             int64_t context, int64_t chunk, int threads);
// Bytes that the MTP head adds at this context (r1 run and r1 serve load it unless --lookahead is 0); 0 if the config
// declares none.
int64_t prediction_bytes(const ModelConfig& config, Numerics numerics, const WeightFormats& formats,
                         int64_t context);
// Returns the largest context, up to the model's own, whose total is at most `memory`; 0 if not even one page
// of keys fits.
int64_t largest_context(const ModelConfig& config, Numerics numerics, const WeightFormats& formats,
                        int64_t memory, int64_t chunk, int threads);

}  // namespace r1
