// ops/simd/exp.h: the one f32 exp of cpu-f32, scalar. exp-inl.h is the same over vectors, bit for bit.
//
//   x = n ln 2 + r,   n the nearest integer, |r| <= 0.3466
//   e^r = 1 + r + r^2 q(r)
//
// q is a fourth-degree minimax fit of the relative error (at most 0.08 x 2^-24); adding n to the exponent
// multiplies by 2^n. The error is under 1 ulp over the whole range (tests/ops/exp_test.cc). exp(0) is exactly
// 1. Below kExpLow the result would be subnormal and is 0; above kExpHigh it is infinity; NaN stays NaN.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace r1 {

inline constexpr float kExpHigh = 0x1.62e42ep+6f;  // the largest x with e^x <= FLT_MAX
inline constexpr float kExpLow = -0x1.5d589ep+6f;  // the least x with e^x >= FLT_MIN
inline constexpr float kExpLog2E = 0x1.715476p+0f;
inline constexpr float kExpRound =
    0x1.8p+23f;  // adding it rounds to an integer, whose low bits it then shows
inline constexpr float kExpLn2High = 0x1.62e4p-1f;  // 16 bits: n * high is exact
inline constexpr float kExpLn2Low = 0x1.7f7d1cp-20f;
inline constexpr float kExpQ[5] = {0x1.6feef6p-10f, 0x1.1257b6p-7f, 0x1.5553p-5f, 0x1.555466p-3f, 0x1p-1f};

inline float exp_f32(float x) {
  if (std::isnan(x)) return x;
  if (x > kExpHigh) return std::numeric_limits<float>::infinity();
  if (x < kExpLow) return 0.0f;
  const float rounded = std::fma(x, kExpLog2E, kExpRound);
  const float n = rounded - kExpRound;
  const float r = std::fma(-n, kExpLn2Low, std::fma(-n, kExpLn2High, x));
  float q = std::fma(kExpQ[0], r, kExpQ[1]);
  q = std::fma(q, r, kExpQ[2]);
  q = std::fma(q, r, kExpQ[3]);
  q = std::fma(q, r, kExpQ[4]);
  const float p = std::fma(q, r * r, r) + 1.0f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + (std::bit_cast<uint32_t>(rounded) << 23));
}

}  // namespace r1
