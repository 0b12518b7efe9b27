// ops/matmul/tensor_gated_cuda.h: a gate and an up projection with SwiGLU behind them in one launch, for more rows than
// tensor_stream_cuda.h takes. Private to ops that multiply.
#pragma once

#include "ops/matmul/tensor_product_cuda.h"

namespace r1::cuda {

// gate.d, bf16, = silu(gate) * up, both rounded to bf16 first: the bits of tensor_product() twice and of swiglu in bf16.
// The two have one shape, one Q and the same most shards. up.d is not used.
struct TensorGated {
  TensorProduct gate, up;
};
// True if tensor_gated() can compute it on this GPU.
bool tensor_gated_fits(const TensorGated& call);
// True if it does so in less time than the products one by one: there are few tiles.
bool tensor_gated_pays(const TensorGated& call);
void tensor_gated(const TensorGated& call, void* stream);

}  // namespace r1::cuda
