// ops/matmul/tensor_block_sm90.cuh: how a warp stores 16 x 8 outputs that it holds in the layout of mma.sync.
#pragma once

#include <cuda_runtime.h>

#include "ops/matmul/tensor_tile_cuda.cuh"

namespace r1::cuda {

// Stores a warp's 16 x 8 outputs from (i0, j0) on.
__device__ __forceinline__ void store_block(const TensorProduct& product, int64_t i0, int64_t j0,
                                            const float (&total)[4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  const bool pairs = product.d_bf16 && product.d_i == 1 && product.d_j % 2 == 0 && i0 + 16 <= product.I &&
                     reinterpret_cast<uintptr_t>(product.d) % 4 == 0;
  if (pairs) {  // the lanes transpose 8 x 8 outputs to hold neighbours in i
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t i = i0 + g + 8 * half;
      const uint32_t low = bf16_bits(add_bias(product, i, total[2 * half]));
      const uint32_t high = bf16_bits(add_bias(product, i, total[2 * half + 1]));
      const uint32_t turned = transpose_block(low | high << 16);
      if (j0 + g < product.J)
        *reinterpret_cast<uint32_t*>(static_cast<uint16_t*>(product.d) + i0 + 8 * half + 2 * t +
                                     (j0 + g) * product.d_j) = turned;
    }
    return;
  }
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const int64_t i = i0 + g + 8 * (e / 2), j = j0 + 2 * t + e % 2;
    if (i < product.I && j < product.J) store_total(product, i, j, total[e]);
  }
}

}  // namespace r1::cuda
