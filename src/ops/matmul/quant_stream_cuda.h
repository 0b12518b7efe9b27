// ops/matmul/quant_stream_cuda.h: products of quantised matrices with few rows of x that read each weight once, and what lies
// beside them in a block of a transformer, as tensor_stream_cuda.h has it for bf16. Private to ops that multiply.
//
// Bits: those of quant_products_of(), of rms_norm rounded to bf16, of swiglu in bf16 and of add_in_place, one after the other.
#pragma once

#include <span>

#include "ops/matmul/quant_product_cuda.h"
#include "ops/matmul/tensor_stream_cuda.h"

namespace r1::cuda {

struct QuantStreamCall {
  std::span<const QuantProductOnTiles> products;  // of one x, one K and one format; at most kMostProducts
  StreamOutput output = StreamOutput::store;
  // If `x` is set, the row of x is that of x [1, K], f32, normed by `norm` [K] and `eps`.
  const float* x = nullptr;
  const float* norm = nullptr;
  float eps = 0;
};

// True if quant_stream() can compute it on this GPU (sm_90 and up). A function of shapes, formats and the alignment of
// addresses.
bool quant_stream_fits(const QuantStreamCall& call);
void quant_stream(const QuantStreamCall& call, void* stream);

}  // namespace r1::cuda
