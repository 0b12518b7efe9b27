// ops/matmul/quant_dot_avx2.cc: VPMADDUBSW, with operands that cannot saturate its int16.
#include "base/error.h"
#include "ops/matmul/quant_dot.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#define R1_QUANT_INLINE inline __attribute__((always_inline))
#define R1_QUANT_UNROLL _Pragma("GCC unroll 16")

namespace r1 {
namespace quant_avx2 {

#include "ops/matmul/quant_lanes256-inl.h"

struct V : Lanes256 {
  static constexpr int kScaledRows = 2, kPlainRows = 4;
  static constexpr bool kFlips = true;
  // Products of unsigned and signed bytes are added in pairs, in int16: at most 2 * 2^bits * 127 each. Returns
  // the number of groups whose sums fit in int16.
  static constexpr int depth(int bits, int groups) {
    const int most = bits == 4 ? 8 : bits == 5 ? 4 : 2;  // 8 * 3810, 4 * 7874, 2 * 16002
    return most < groups ? most : groups;
  }
  template <int kBits, int kGroups, int kRows>
  static R1_QUANT_INLINE void dot(Int* sum, const uint8_t* u, const int8_t* q, int64_t row) {
    const Int ones = _mm256_set1_epi16(1);
    if constexpr (kBits == 8) {
      // |w| and q with w's sign: 2 * 128 * 127 fits, since no q is -128.
      R1_QUANT_UNROLL for (int g = 0; g < kGroups; ++g) {
        const Int w = _mm256_xor_si256(bytes_at(u + 64 * g), _mm256_set1_epi8(-128));
        const Int magnitude = _mm256_abs_epi8(w);
        R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) {
          const Int x = _mm256_sign_epi8(all_int(q + r * row + 4 * g), w);
          sum[r] = add(sum[r], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, x), ones));
        }
      }
    } else {
      constexpr int kDepth = depth(kBits, kGroups);
      R1_QUANT_UNROLL for (int g = 0; g < kGroups; g += kDepth) {
        Int part[kRows];
        R1_QUANT_UNROLL for (int i = 0; i < kDepth; ++i) {
          const Int w = bytes_at(u + 64 * (g + i));
          R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) {
            const Int products = _mm256_maddubs_epi16(w, all_int(q + r * row + 4 * (g + i)));
            part[r] = i == 0 ? products : _mm256_add_epi16(part[r], products);
          }
        }
        R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) sum[r] =
            add(sum[r], _mm256_madd_epi16(part[r], ones));
      }
    }
  }
  static R1_QUANT_INLINE Int pairs(Int sum, Int a, Int b) { return add(sum, _mm256_madd_epi16(a, b)); }
};

#include "ops/matmul/quant_dot-inl.h"

}  // namespace quant_avx2

void quant_dot::avx2(const QuantTile& tile) {
  quant_avx2::run_any<quant_avx2::V>(tile);
}

}  // namespace r1

#else

namespace r1 {

void quant_dot::avx2(const QuantTile&) {
  R1_CHECK(false, "this build has no AVX2 kernels");
}

}  // namespace r1
#endif
