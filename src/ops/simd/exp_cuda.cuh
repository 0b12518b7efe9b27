// ops/simd/exp_cuda.cuh: the exp of ops/simd/exp.h on a CUDA device; the same bits as the scalar.
#pragma once

#include "ops/simd/exp.h"

namespace r1::cuda {

__device__ __forceinline__ float exp_f32(float x) {
  constexpr float kQ0 = kExpQ[0], kQ1 = kExpQ[1], kQ2 = kExpQ[2], kQ3 = kExpQ[3], kQ4 = kExpQ[4];
  const float rounded = __fmaf_rn(x, kExpLog2E, kExpRound);
  const float n = __fsub_rn(rounded, kExpRound);
  const float r = __fmaf_rn(-n, kExpLn2Low, __fmaf_rn(-n, kExpLn2High, x));
  float q = __fmaf_rn(kQ0, r, kQ1);
  q = __fmaf_rn(q, r, kQ2);
  q = __fmaf_rn(q, r, kQ3);
  q = __fmaf_rn(q, r, kQ4);
  const float p = __fadd_rn(__fmaf_rn(q, __fmul_rn(r, r), r), 1.0f);
  float y = __uint_as_float(__float_as_uint(p) + (__float_as_uint(rounded) << 23));
  if (x < kExpLow) y = 0.0f;
  if (x > kExpHigh) y = __uint_as_float(0x7F800000u);
  return x == x ? y : x;
}

}  // namespace r1::cuda
