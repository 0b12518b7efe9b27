// model/gguf_export.h: a checkpoint's tensors under the names, and in the row orders, that a GGUF file has
// them.
//
// This is model/gguf_names.h backwards: llama's query and key rows are permuted, experts are stacked, and
// kv_b_proj becomes attn_k_b [H, R, nope] (transposed) and attn_v_b [H, V, R], as llama.cpp's converter
// writes them now. Vectors and the router are F32.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "formats/gguf_file.h"
#include "formats/weight_source.h"
#include "model/config.h"

namespace r1 {

// A tensor that is to be written. Reading is safe from many threads.
struct GgufOutput {
  std::string name;
  std::vector<int64_t> shape;       // row-major
  GgufType stored = GgufType::f32;  // how the source has it
  bool is_matrix = false;           // quantised if the user asks for it; others stay f32
  std::function<void(int64_t first, std::span<float> out)>
      read;  // whole rows; throws Error for NaN and infinities
  std::function<void(uint64_t begin, std::span<std::byte> out)>
      read_bytes;  // in `stored`; empty: there are none

  int64_t width() const { return shape.empty() ? 1 : shape.back(); }
  int64_t count() const;
  int64_t rows() const { return width() == 0 ? 0 : count() / width(); }
  // Entries of the first dimension of a stack, such as experts; 1 for a matrix.
  int64_t matrices() const { return shape.size() == 3 ? shape.front() : 1; }
};

// True for what may be quantised: matrices that products or look-ups read; no norms, no biases, no router.
bool is_quantisable(std::string_view name, size_t rank);

// The tensors of a model in checkpoint order. `weights` must outlive what is returned.
std::vector<GgufOutput> gguf_outputs(const ModelConfig& config, const WeightSource& weights);

// The tensors of a GGUF file as they are there, of any architecture.
std::vector<GgufOutput> gguf_outputs(const GgufFile& file);

// The tensors that attn_kv_b stands for: their names, of which the first is transposed within a head.
struct LatentNames {
  std::string keys, values;
};
LatentNames latent_names(const std::string& kv_b);  // "blk.3.attn_kv_b.weight"

}  // namespace r1
