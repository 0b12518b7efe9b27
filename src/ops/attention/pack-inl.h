// ops/attention/pack-inl.h: moving rows into the layouts that chains-inl.h reads: tiles, and transposed keys.
//
// By vectors: rows are short, and a call of memcpy for each costs more than the copy. Include after
// hwy/highway.h in a foreach_target file; use inside r1::HWY_NAMESPACE.
#if defined(R1_OPS_ATTENTION_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef R1_OPS_ATTENTION_PACK_INL_H_
#undef R1_OPS_ATTENTION_PACK_INL_H_
#else
#define R1_OPS_ATTENTION_PACK_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "ops/attention/kernels.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1::attention_detail {
namespace HWY_NAMESPACE {
using namespace r1::HWY_NAMESPACE;

// One row into its place in tiles [blocks][12][32]; zeros follow its end up to 16 columns.
HWY_INLINE void pack_row(const float* HWY_RESTRICT from, int64_t columns, float* HWY_RESTRICT to) {
  namespace hn = hwy::HWY_NAMESPACE;
  const LaneTag d;
  for (int64_t i = 0; i < columns; i += 16) {
    float* at = to + i / 32 * kBlockFloats + i % 32;
    for (int64_t v = 0; v < 16; v += static_cast<int64_t>(kLaneWidth)) {
      const int64_t left = columns - i - v;
      if (left >= static_cast<int64_t>(kLaneWidth)) {
        hn::StoreU(hn::LoadU(d, from + i + v), d, at + v);
      } else {
        hn::StoreU(left > 0 ? load_some(d, from + i + v, static_cast<size_t>(left)) : hn::Zero(d), d, at + v);
      }
    }
  }
}

HWY_INLINE void copy_row(const float* HWY_RESTRICT from, int64_t columns, float* HWY_RESTRICT to) {
  map1(from, to, columns, [](auto, auto x) HWY_ATTR { return x; });
}

// n <= 32 rows of `columns`, `stride` apart -> to[column * 32 + row].
HWY_INLINE void transpose_rows(const float* HWY_RESTRICT from, int64_t stride, int64_t n, int64_t columns,
                               float* HWY_RESTRICT to) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Full128<float> d;
  const hn::Full128<double> dd;
  int64_t j = 0;
  for (; j + 4 <= n; j += 4) {
    const float* row = from + j * stride;
    float* at = to + j;
    int64_t i = 0;
    for (; i + 4 <= columns; i += 4) {  // four by four
      const auto a = hn::LoadU(d, row + i), b = hn::LoadU(d, row + stride + i);
      const auto c = hn::LoadU(d, row + 2 * stride + i), e = hn::LoadU(d, row + 3 * stride + i);
      const auto ab = hn::BitCast(dd, hn::InterleaveLower(d, a, b));  // a0 b0 a1 b1
      const auto ce = hn::BitCast(dd, hn::InterleaveLower(d, c, e));
      const auto AB = hn::BitCast(dd, hn::InterleaveUpper(d, a, b));  // a2 b2 a3 b3
      const auto CE = hn::BitCast(dd, hn::InterleaveUpper(d, c, e));
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dd, ab, ce)), d, at + i * 32);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dd, ab, ce)), d, at + i * 32 + 32);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dd, AB, CE)), d, at + i * 32 + 64);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dd, AB, CE)), d, at + i * 32 + 96);
    }
    for (; i < columns; ++i) {
      for (int64_t r = 0; r < 4; ++r) at[i * 32 + r] = row[r * stride + i];
    }
  }
  for (; j < n; ++j) {
    for (int64_t i = 0; i < columns; ++i) to[i * 32 + j] = from[j * stride + i];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace r1::attention_detail
HWY_AFTER_NAMESPACE();
#endif
