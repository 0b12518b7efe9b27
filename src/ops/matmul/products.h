// ops/matmul/products.h: products with several weights, run together. For backends of the CPU.
#pragma once

#include <optional>

#include "ops/matmul/weight.h"
#include "tensor/context.h"

namespace r1 {

// y [M, N] = x [M, K] W^T, without the bias and not rounded.
struct PlainProduct {
  const Weight* w = nullptr;
  const float* x = nullptr;
  int64_t M = 0;
  float* y = nullptr;
};

// The list lives in the host arena, and quantised rows in the arena until run() returns: between add() and
// run() the caller takes nothing from it.
class ProductList {
 public:
  ProductList(Context& ctx, int64_t limit);
  void add(const PlainProduct& p);
  // Runs all products, which then are forgotten. Outputs must not overlap.
  void run();

 private:
  // Rows that several products may share.
  struct Quantised {
    Format format;
    const float* x;
    int64_t M, K;
    std::byte* rows;
  };
  void quantise();

  Context& ctx_;
  Gemm* gemms_;
  QuantProduct* quants_;
  Quantised* inputs_;
  int64_t gemm_count_ = 0, quant_count_ = 0, input_count_ = 0;
  std::optional<OpScope> scope_;
};

}  // namespace r1
