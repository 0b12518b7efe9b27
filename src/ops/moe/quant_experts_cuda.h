// ops/moe/quant_experts_cuda.h: products of experts whose matrices are quantised, in cuda-bf16. Private to this folder.
//
// Bits: those of the experts in bf16 (ops/matmul/quant_product_cuda.h).
#pragma once

#include <array>
#include <cstdint>

#include "ops/matmul/quant_product_cuda.h"
#include "ops/moe/moe_backend.h"
#include "ops/simd/upload_cuda.h"

namespace r1::cuda {

// Belongs inside an OpScope. Takes the memory for `typical` rows per expert; `transposed`: also for products with the
// matrices transposed.
class QuantExperts {
 public:
  QuantExperts(Context& ctx, const MoeWeights& w, int64_t typical, bool transposed);
  // True if all experts' matrices of this kind (0 gate, 1 up, 2 down) are tiles of one format: products go through here.
  bool has(int which) const { return formats_[static_cast<size_t>(which)] != Format::f32; }
  // As tensor_products() with the groups of `starts`, the device's [experts + 1]. product.p has no data.
  void products(const TensorProduct& product, int which, const int64_t* starts, int64_t typical) const;

 private:
  Context& ctx_;
  int64_t count_ = 0, slots_ = 0, elements_ = 0;
  std::array<Format, 3> formats_{Format::f32, Format::f32, Format::f32};  // f32: not quantised alike
  const std::byte** tiles_ = nullptr;                                     // [3, experts], on the host
  uint16_t* scratch_ = nullptr;                                           // [slots, elements]
  Upload upload_;
  int tile_list_ = 0, slot_list_ = 0;
};

}  // namespace r1::cuda
