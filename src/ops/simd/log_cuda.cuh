// ops/simd/log_cuda.cuh: exact_log of base/math.h on a CUDA device, step by step the same.
#pragma once

#include <cstdint>

namespace r1::cuda {

__device__ inline double exact_log(double x) {
  constexpr double kLn2High = 0x1.62e42fefa38p-1, kLn2Low = 0x1.ef35793c7673p-45;
  if (x != x || x < 0) return __longlong_as_double(0x7FF8000000000000ll);
  if (x == 0) return __longlong_as_double(static_cast<long long>(0xFFF0000000000000ull));
  if (__double_as_longlong(x) == 0x7FF0000000000000ll) return x;
  int64_t k = 0;
  if (x < 0x1p-1022) {
    x = __dmul_rn(x, 0x1p54);
    k = -54;
  }
  const auto bits = static_cast<uint64_t>(__double_as_longlong(x));
  k += static_cast<int64_t>(bits >> 52) - 1023;
  double m =
      __longlong_as_double(static_cast<long long>((bits & 0xFFFFFFFFFFFFFull) | 0x3FF0000000000000ull));
  if (m > 1.4142135623730951) {
    m = __dmul_rn(m, 0.5);
    ++k;
  }
  const double s = __ddiv_rn(__dadd_rn(m, -1.0), __dadd_rn(m, 1.0)), z = __dmul_rn(s, s);
  double p = 2.0 / 21.0;
  p = __fma_rn(p, z, 2.0 / 19.0);
  p = __fma_rn(p, z, 2.0 / 17.0);
  p = __fma_rn(p, z, 2.0 / 15.0);
  p = __fma_rn(p, z, 2.0 / 13.0);
  p = __fma_rn(p, z, 2.0 / 11.0);
  p = __fma_rn(p, z, 2.0 / 9.0);
  p = __fma_rn(p, z, 2.0 / 7.0);
  p = __fma_rn(p, z, 2.0 / 5.0);
  p = __fma_rn(p, z, 2.0 / 3.0);
  const double log_m = __fma_rn(__dmul_rn(s, z), p, __dmul_rn(2.0, s));
  const auto kd = static_cast<double>(k);
  return __fma_rn(kd, kLn2High, __fma_rn(kd, kLn2Low, log_m));
}

}  // namespace r1::cuda
