// ops/simd/transpose-inl.h: transposes up to 32 rows into panels [column][32], for matrix products and keys.
//
// Include after hwy/highway.h in a foreach_target file; use inside r1::HWY_NAMESPACE.
#if defined(R1_OPS_SIMD_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef R1_OPS_SIMD_TRANSPOSE_INL_H_
#undef R1_OPS_SIMD_TRANSPOSE_INL_H_
#else
#define R1_OPS_SIMD_TRANSPOSE_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {

// Stores the 128-bit blocks of v, 4 * 32 floats apart.
template <class D>
HWY_INLINE void store_blocks(hwy::HWY_NAMESPACE::VFromD<D> v, D d, float* to) {
  namespace hn = hwy::HWY_NAMESPACE;
  if constexpr (hn::MaxLanes(D()) == 4) {
    hn::StoreU(v, d, to);
  } else {
    const hn::Half<D> half;
    store_blocks(hn::LowerHalf(half, v), half, to);
    store_blocks(hn::UpperHalf(half, v), half, to + static_cast<int64_t>(hn::MaxLanes(half)) * 32);
  }
}

// Lanes(d) columns of four rows -> to[column * 32 + row].
template <class D>
HWY_INLINE void transpose_four(D d, const float* row0, const float* row1, const float* row2,
                               const float* row3, float* HWY_RESTRICT to) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Repartition<double, D> dd;
  const auto a = hn::LoadU(d, row0), b = hn::LoadU(d, row1), c = hn::LoadU(d, row2), e = hn::LoadU(d, row3);
  const auto ab = hn::BitCast(dd, hn::InterleaveLower(d, a, b));  // a0 b0 a1 b1 of each block
  const auto ce = hn::BitCast(dd, hn::InterleaveLower(d, c, e));
  const auto AB = hn::BitCast(dd, hn::InterleaveUpper(d, a, b));  // a2 b2 a3 b3
  const auto CE = hn::BitCast(dd, hn::InterleaveUpper(d, c, e));
  store_blocks(hn::BitCast(d, hn::InterleaveLower(dd, ab, ce)), d, to);
  store_blocks(hn::BitCast(d, hn::InterleaveUpper(dd, ab, ce)), d, to + 32);
  store_blocks(hn::BitCast(d, hn::InterleaveLower(dd, AB, CE)), d, to + 64);
  store_blocks(hn::BitCast(d, hn::InterleaveUpper(dd, AB, CE)), d, to + 96);
}

// Rows [begin, end), at most 32, of `columns` columns; row j is at row_of(j). -> to[column * 32 + row].
template <class RowOf>
HWY_INLINE void transpose_rows_of(const RowOf& row_of, int64_t begin, int64_t end, int64_t columns,
                                  float* HWY_RESTRICT to) {
  namespace hn = hwy::HWY_NAMESPACE;
  constexpr int64_t kLanes = static_cast<int64_t>(kLaneWidth);
  int64_t j = begin;
  for (; j + 4 <= end; j += 4) {
    const float* row[4] = {row_of(j), row_of(j + 1), row_of(j + 2), row_of(j + 3)};
    float* at = to + j;
    int64_t i = 0;
    for (; i + kLanes <= columns; i += kLanes)
      transpose_four(LaneTag(), row[0] + i, row[1] + i, row[2] + i, row[3] + i, at + i * 32);
    for (; i + 4 <= columns; i += 4)
      transpose_four(hn::Full128<float>(), row[0] + i, row[1] + i, row[2] + i, row[3] + i, at + i * 32);
    for (; i < columns; ++i) {
      for (int64_t r = 0; r < 4; ++r) at[i * 32 + r] = row[r][i];
    }
  }
  for (; j < end; ++j) {
    const float* row = row_of(j);
    for (int64_t i = 0; i < columns; ++i) to[i * 32 + j] = row[i];
  }
}

// The same for n <= 32 rows that are `stride` floats apart.
HWY_INLINE void transpose_rows(const float* HWY_RESTRICT from, int64_t stride, int64_t n, int64_t columns,
                               float* HWY_RESTRICT to) {
  transpose_rows_of([=](int64_t j) { return from + j * stride; }, 0, n, columns, to);
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();
#endif
