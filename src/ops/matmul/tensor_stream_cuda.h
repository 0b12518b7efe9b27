// ops/matmul/tensor_stream_cuda.h: products of few rows of Q (decoding) that read each weight once, and what lies beside
// them in a block of a transformer: the norm in front, SwiGLU or a sum behind. Private to ops that multiply.
//
// Bits: those of tensor_product(), of rms_norm rounded to bf16, of swiglu in bf16 and of add_in_place, one after the other.
#pragma once

#include <cstdint>
#include <span>

#include "ops/matmul/tensor_product_cuda.h"

namespace r1::cuda {

inline constexpr int64_t kMostStreamRows = 32;  // rows of Q

// The use of the products.
enum class StreamOutput : uint8_t {
  store,  // outputs are stored as by tensor_product()
  add,    // one product: D, f32, += the product with its bias
  gate,  // a gate and an up projection of one shape: products[0].d, bf16, = silu(gate) * up, both rounded to bf16
};

struct StreamCall {
  std::span<const TensorProduct> products;  // they share one Q and one K; at most kMostProducts
  StreamOutput output = StreamOutput::store;
  // If `x` is set, Q is not read: its rows are those of x [J, K], f32, normed by `norm` [K] and `eps`.
  const float* x = nullptr;
  const float* norm = nullptr;
  float eps = 0;
};

// True if stream_products() can compute it on this GPU, and does so at the speed of memory. A function of shapes and
// of the alignment of addresses, which is at least 16 bytes in the arenas.
bool stream_fits(const StreamCall& call);
void stream_products(const StreamCall& call, void* stream);

}  // namespace r1::cuda
