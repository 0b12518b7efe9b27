// ops/matmul/quant_dot_i8mm.cc: SMMLA, two rows of activations by two outputs.
#include "base/error.h"
#include "ops/matmul/quant_dot.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstring>

// From here on, functions are compiled for NEON i8mm. No header follows that has functions of others.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod,i8mm"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod+i8mm")
#endif

#define R1_QUANT_INLINE inline __attribute__((always_inline))
#define R1_QUANT_UNROLL _Pragma("GCC unroll 16")

namespace r1 {
namespace quant_i8mm {

#include "ops/matmul/quant_lanes128-inl.h"

struct V : Lanes128 {
  static constexpr int kScaledRows = 6, kPlainRows = 8;
  // One row alone takes SDOT. Rows in twos: SMMLA multiplies eight steps of two outputs by those of two rows,
  // and leaves the four sums of a 2 x 2 tile side by side.
  template <int kBits, int kGroups, int kRows>
  static R1_QUANT_INLINE void dot(Int* sum, const uint8_t* u, const int8_t* q, int64_t row) {
    if constexpr (kRows == 1) {
      Lanes128::dot<kBits, kGroups, 1>(sum, u, q, row);
    } else {
      static_assert(kRows % 2 == 0 && kGroups % 4 == 0);
      Int first[kRows / 2], last[kRows / 2];  // of outputs 0 and 1, 2 and 3
      R1_QUANT_UNROLL for (int r = 0; r < kRows / 2; ++r) first[r] = last[r] = zero();
      R1_QUANT_UNROLL for (int g = 0; g < kGroups; g += 4) {
        const int8x16_t a = weights_at<kBits>(u + 64 * g), b = weights_at<kBits>(u + 64 * (g + 1)),
                        c = weights_at<kBits>(u + 64 * (g + 2)), d = weights_at<kBits>(u + 64 * (g + 3));
        const int8x16_t ab_first = low_words(a, b), ab_last = high_words(a, b);
        const int8x16_t cd_first = low_words(c, d), cd_last = high_words(c, d);
        R1_QUANT_UNROLL for (int r = 0; r < kRows / 2; ++r) {
          const int64x2_t even = vreinterpretq_s64_s8(vld1q_s8(q + 2 * r * row + 4 * g)),
                          odd = vreinterpretq_s64_s8(vld1q_s8(q + (2 * r + 1) * row + 4 * g));
          const int8x16_t ab = vreinterpretq_s8_s64(vzip1q_s64(even, odd)),
                          cd = vreinterpretq_s8_s64(vzip2q_s64(even, odd));
          first[r] = vmmlaq_s32(vmmlaq_s32(first[r], ab_first, ab), cd_first, cd);
          last[r] = vmmlaq_s32(vmmlaq_s32(last[r], ab_last, ab), cd_last, cd);
        }
      }
      R1_QUANT_UNROLL for (int r = 0; r < kRows / 2; ++r) {
        sum[2 * r] = add(sum[2 * r], vuzp1q_s32(first[r], last[r]));
        sum[2 * r + 1] = add(sum[2 * r + 1], vuzp2q_s32(first[r], last[r]));
      }
    }
  }

 private:
  static R1_QUANT_INLINE int8x16_t low_words(int8x16_t a, int8x16_t b) {
    return vreinterpretq_s8_s32(vzip1q_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
  }
  static R1_QUANT_INLINE int8x16_t high_words(int8x16_t a, int8x16_t b) {
    return vreinterpretq_s8_s32(vzip2q_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
  }
};

#include "ops/matmul/quant_dot-inl.h"

}  // namespace quant_i8mm

void quant_dot::neon_i8mm(const QuantTile& tile) {
  quant_i8mm::run_any<quant_i8mm::V>(tile);
}

}  // namespace r1

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#else

namespace r1 {

void quant_dot::neon_i8mm(const QuantTile&) {
  R1_CHECK(false, "this build has no NEON i8mm kernels");
}

}  // namespace r1
#endif
