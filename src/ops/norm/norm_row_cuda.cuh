// ops/norm/norm_row_cuda.cuh: RMSNorm of one row on a CUDA device, for kernels that norm among other things.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ops/simd/bf16_cuda.cuh"

namespace r1::cuda {

// 1 / sqrt(squares / D + eps), of a row's sum of squares.
__device__ __forceinline__ float rstd_of(float squares, int64_t D, float eps) {
  const float mean = __fdiv_rn(squares, static_cast<float>(D));
  return __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
}

// An element of the result before it is rounded to Y: if Y is bf16, so is the weight that the forward sees.
template <class Y>
__device__ __forceinline__ float normed(float value, float rstd, float weight) {
  return __fmul_rn(__fmul_rn(value, rstd), sizeof(Y) == sizeof(float) ? weight : through_bf16(weight));
}

}  // namespace r1::cuda
