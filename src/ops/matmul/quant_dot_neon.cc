// ops/matmul/quant_dot_neon.cc: SDOT over four outputs.
#include "base/error.h"
#include "ops/matmul/quant_dot.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstring>

// From here on, functions are compiled for NEON dot. No header follows that has functions of others.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("+dotprod")
#endif

#define R1_QUANT_INLINE inline __attribute__((always_inline))
#define R1_QUANT_UNROLL _Pragma("GCC unroll 16")

namespace r1 {
namespace quant_neon {

struct V {
  static constexpr int kLanes = 4, kScaledRows = 6, kPlainRows = 8;
  static constexpr bool kFlips = true;
  using Int = int32x4_t;
  using Float = float32x4_t;
  static R1_QUANT_INLINE Int zero() { return vdupq_n_s32(0); }
  static R1_QUANT_INLINE Int int_at(const int32_t* p) { return vld1q_s32(p); }
  static R1_QUANT_INLINE Float float_at(const float* p) { return vld1q_f32(p); }
  static R1_QUANT_INLINE void store(float* p, Float v) { vst1q_f32(p, v); }
  static R1_QUANT_INLINE Int all_int(const void* p) {
    int32_t word;
    std::memcpy(&word, p, sizeof(word));
    return vdupq_n_s32(word);
  }
  static R1_QUANT_INLINE Float all_float(const void* p) { return vreinterpretq_f32_s32(all_int(p)); }
  // Bytes below 128 are signed as they are.
  template <int kBits, int kGroups, int kRows>
  static R1_QUANT_INLINE void dot(Int* sum, const uint8_t* u, const int8_t* q, int64_t row) {
    R1_QUANT_UNROLL for (int g = 0; g < kGroups; ++g) {
      uint8x16_t bytes = vld1q_u8(u + 64 * g);
      if constexpr (kBits == 8) bytes = veorq_u8(bytes, vdupq_n_u8(0x80));
      const int8x16_t w = vreinterpretq_s8_u8(bytes);
      R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) sum[r] =
          vdotq_s32(sum[r], w, vreinterpretq_s8_s32(all_int(q + r * row + 4 * g)));
    }
  }
  static R1_QUANT_INLINE Int pairs(Int sum, Int a, Int b) {
    const int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
    const Int low = vmull_s16(vget_low_s16(x), vget_low_s16(y)), high = vmull_high_s16(x, y);
    return vaddq_s32(sum, vpaddq_s32(low, high));
  }
  static R1_QUANT_INLINE Int times(Int a, Int b) { return vmulq_s32(a, b); }
  static R1_QUANT_INLINE Int add(Int a, Int b) { return vaddq_s32(a, b); }
  static R1_QUANT_INLINE Float number(Int a) { return vcvtq_f32_s32(a); }
  static R1_QUANT_INLINE Float mul(Float a, Float b) { return vmulq_f32(a, b); }
  static R1_QUANT_INLINE Float fma(Float a, Float b, Float c) { return vfmaq_f32(c, a, b); }
  static R1_QUANT_INLINE Float minus_fma(Float a, Float b, Float c) { return vfmsq_f32(c, a, b); }
};

#include "ops/matmul/quant_dot-inl.h"

}  // namespace quant_neon

void quant_dot::neon_dot(const QuantTile& tile) {
  quant_neon::run_any<quant_neon::V>(tile);
}

}  // namespace r1

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#else

namespace r1 {

void quant_dot::neon_dot(const QuantTile&) {
  R1_CHECK(false, "this build has no NEON dot kernels");
}

}  // namespace r1
#endif
