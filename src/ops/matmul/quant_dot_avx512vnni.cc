// ops/matmul/quant_dot_avx512vnni.cc: VPDPBUSD over sixteen outputs.
#include "base/error.h"
#include "ops/matmul/quant_dot.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

// From here on, functions are compiled for AVX-512 VNNI. No header follows that has functions of others.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"))), \
                             apply_to = function)
#else
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12, of its own intrinsics' undefined vectors
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512vnni")
#endif

#define R1_QUANT_INLINE inline __attribute__((always_inline))
#define R1_QUANT_UNROLL _Pragma("GCC unroll 16")

namespace r1 {
namespace quant_avx512vnni {

struct V {
  static constexpr int kLanes = 16, kScaledRows = 8, kPlainRows = 12;
  static constexpr bool kFlips = false;
  using Int = __m512i;
  using Float = __m512;
  static R1_QUANT_INLINE Int zero() { return _mm512_setzero_si512(); }
  static R1_QUANT_INLINE Int int_at(const int32_t* p) { return _mm512_loadu_si512(p); }
  static R1_QUANT_INLINE Float float_at(const float* p) { return _mm512_loadu_ps(p); }
  static R1_QUANT_INLINE void store(float* p, Float v) { _mm512_storeu_ps(p, v); }
  static R1_QUANT_INLINE Int all_int(const void* p) {
    int32_t word;
    std::memcpy(&word, p, sizeof(word));
    return _mm512_set1_epi32(word);
  }
  static R1_QUANT_INLINE Float all_float(const void* p) { return _mm512_castsi512_ps(all_int(p)); }
  template <int kBits, int kGroups, int kRows>
  static R1_QUANT_INLINE void dot(Int* sum, const uint8_t* u, const int8_t* q, int64_t row) {
    R1_QUANT_UNROLL for (int g = 0; g < kGroups; ++g) {
      const Int w = _mm512_loadu_si512(u + 64 * g);
      R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) sum[r] =
          _mm512_dpbusd_epi32(sum[r], w, all_int(q + r * row + 4 * g));
    }
  }
  static R1_QUANT_INLINE Int pairs(Int sum, Int a, Int b) { return _mm512_dpwssd_epi32(sum, a, b); }
  static R1_QUANT_INLINE Int times(Int a, Int b) { return _mm512_mullo_epi32(a, b); }
  static R1_QUANT_INLINE Int add(Int a, Int b) { return _mm512_add_epi32(a, b); }
  static R1_QUANT_INLINE Float number(Int a) { return _mm512_cvtepi32_ps(a); }
  static R1_QUANT_INLINE Float mul(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static R1_QUANT_INLINE Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static R1_QUANT_INLINE Float minus_fma(Float a, Float b, Float c) { return _mm512_fnmadd_ps(a, b, c); }
};

#include "ops/matmul/quant_dot-inl.h"

}  // namespace quant_avx512vnni

void quant_dot::avx512vnni(const QuantTile& tile) {
  quant_avx512vnni::run_any<quant_avx512vnni::V>(tile);
}

}  // namespace r1

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#else

namespace r1 {

void quant_dot::avx512vnni(const QuantTile&) {
  R1_CHECK(false, "this build has no AVX-512 VNNI kernels");
}

}  // namespace r1
#endif
