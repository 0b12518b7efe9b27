// ops/matmul/quant_dot_avxvnni.cc: VPDPBUSD over eight outputs, without AVX-512.
#include "base/error.h"
#include "ops/matmul/quant_dot.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

// From here on, functions are compiled for AVX-VNNI. No header follows that has functions of others.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avxvnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avxvnni")
#endif

#define R1_QUANT_INLINE inline __attribute__((always_inline))
#define R1_QUANT_UNROLL _Pragma("GCC unroll 16")

namespace r1 {
namespace quant_avxvnni {

#include "ops/matmul/quant_lanes256-inl.h"

struct V : Lanes256 {
  static constexpr int kScaledRows = 4, kPlainRows = 6;
  static constexpr bool kFlips = false;
  template <int kBits, int kGroups, int kRows>
  static R1_QUANT_INLINE void dot(Int* sum, const uint8_t* u, const int8_t* q, int64_t row) {
    R1_QUANT_UNROLL for (int g = 0; g < kGroups; ++g) {
      const Int w = bytes_at(u + 64 * g);
      R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) sum[r] =
          _mm256_dpbusd_avx_epi32(sum[r], w, all_int(q + r * row + 4 * g));
    }
  }
  static R1_QUANT_INLINE Int pairs(Int sum, Int a, Int b) { return _mm256_dpwssd_avx_epi32(sum, a, b); }
};

#include "ops/matmul/quant_dot-inl.h"

}  // namespace quant_avxvnni

void quant_dot::avxvnni(const QuantTile& tile) {
  quant_avxvnni::run_any<quant_avxvnni::V>(tile);
}

}  // namespace r1

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#else

namespace r1 {

void quant_dot::avxvnni(const QuantTile&) {
  R1_CHECK(false, "this build has no AVX-VNNI kernels");
}

}  // namespace r1
#endif
