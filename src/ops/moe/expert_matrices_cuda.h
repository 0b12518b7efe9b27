// ops/moe/expert_matrices_cuda.h: the matrices of a layer's experts on a CUDA device, and the products with them, in cuda-bf16.
// Private to this folder.
//
// Bits: those of ops/matmul/tensor_product_cuda.h, whichever kernel multiplies.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <span>

#include "ops/matmul/tensor_product_cuda.h"
#include "ops/moe/moe_backend.h"
#include "ops/moe/quant_experts_cuda.h"
#include "ops/simd/upload_cuda.h"

namespace r1::cuda {

// The rows of all experts, sorted by expert: expert e owns rows [starts[e], starts[e + 1]), the device's. No expert has more
// than `tokens` of the `slots` rows.
struct ExpertRows {
  const int64_t* starts = nullptr;
  int64_t slots = 0, tokens = 0;
};

enum class ExpertMatrix : uint8_t { gate, up, down };

// Products with the matrices W [N, K] as they are, y [slots, N] = x W^T, or transposed, dx [slots, K] = dy W in f32.
class ExpertMatrices {
 public:
  enum class Use : uint8_t { forward, transposed };
  // Takes their addresses to the device. Belongs inside an OpScope; `slots`: the rows of all experts together.
  ExpertMatrices(Context& ctx, const MoeWeights& w, int64_t slots, Use use);

  struct Product {
    ExpertMatrix matrix;
    const uint16_t* in;  // bf16
    void* out;
    bool bf16 = false;  // the type of out; transposed products are f32
  };
  // Products of one input (forward), each with its own output.
  void multiply(Context& ctx, const ExpertRows& rows, std::span<const Product> products) const;
  // out = the first product, then out += the next ones; all have the first one's output.
  void sum(Context& ctx, const ExpertRows& rows, std::span<const Product> products) const;

  bool trained() const { return trained_; }
  float* const* gradients() const {
    return upload_.at<float*>(gradients_);
  }  // [3, experts]; null: not wanted

 private:
  TensorProduct shape_of(const Context& ctx, ExpertMatrix which) const;
  TensorProduct product_of(const Context& ctx, const Product& product, int64_t tokens) const;
  void multiply_one(Context& ctx, const ExpertRows& rows, const TensorProduct& product,
                    ExpertMatrix which) const;
  bool multiply_together(Context& ctx, const ExpertRows& rows, std::span<const Product> products,
                         bool summed) const;

  int64_t count_;
  Use use_;
  int64_t hidden_ = 0, inner_ = 0;  // gate and up are [inner, hidden], down is [hidden, inner]
  bool aligned_ = true, trained_ = false, mapped_ = false;
  QuantExperts quantised_;
  Upload upload_;
  int maps_ = 0, rows_ = 0, gradients_ = 0;
};

}  // namespace r1::cuda
