// ops/attention/pack-inl.h: moves rows into the layouts that chains-inl.h reads: tiles and transposed keys.
//
// Rows are short, and a memcpy call for each costs more than the copy itself, so rows are copied by vectors.
// Include after hwy/highway.h in a foreach_target file; use inside r1::HWY_NAMESPACE.
#if defined(R1_OPS_ATTENTION_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef R1_OPS_ATTENTION_PACK_INL_H_
#undef R1_OPS_ATTENTION_PACK_INL_H_
#else
#define R1_OPS_ATTENTION_PACK_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "ops/attention/kernels_cpu.h"
#include "ops/simd/bf16-inl.h"
#include "ops/simd/lanes-inl.h"
#include "ops/simd/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1::attention_detail {
namespace HWY_NAMESPACE {
using namespace r1::HWY_NAMESPACE;

// Copies one row to its place in tiles [blocks][12][32]; zeros fill up its end to a multiple of 16 columns.
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

HWY_INLINE float widened(float x) {
  return x;
}
HWY_INLINE float widened(uint16_t x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

HWY_INLINE void widen_row(const uint16_t* HWY_RESTRICT from, int64_t columns, float* HWY_RESTRICT to) {
  const LaneTag d;
  constexpr int64_t kLanes = static_cast<int64_t>(kLaneWidth);
  int64_t i = 0;
  for (; i + kLanes <= columns; i += kLanes) hwy::HWY_NAMESPACE::StoreU(load_bf16(d, from + i), d, to + i);
  for (; i < columns; ++i) to[i] = widened(from[i]);
}

// Widens columns [first, first + columns) of a row of q8, whose columns below `split` have the first scale.
HWY_INLINE void widen_q8_row(const int8_t* HWY_RESTRICT row, int64_t first, int64_t columns, int64_t split,
                             const float* HWY_RESTRICT scales, float* HWY_RESTRICT to) {
  namespace hn = hwy::HWY_NAMESPACE;
  const LaneTag d;
  const hn::Rebind<int8_t, LaneTag> d8;
  const hn::Rebind<int32_t, LaneTag> d32;
  constexpr int64_t kLanes = static_cast<int64_t>(kLaneWidth);
  int64_t i = first;
  const auto up_to = [&](int64_t end, float scale) HWY_ATTR {
    for (; i + kLanes <= end; i += kLanes) {
      const auto numbers = hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, row + i)));
      hn::StoreU(hn::Mul(numbers, hn::Set(d, scale)), d, to + i - first);
    }
    for (; i < end; ++i) to[i - first] = static_cast<float>(row[i]) * scale;
  };
  const int64_t end = first + columns;
  up_to(split < end ? split : end, scales[0]);
  up_to(end, scales[1]);
}

// Transposes rows [begin, end) that are widened first: widen(j, first, width, to) puts `width` columns of row j
// there in f32.
template <class Widen>
HWY_INLINE void transpose_widened_rows(const Widen& widen, int64_t begin, int64_t end, int64_t columns,
                                       float* HWY_RESTRICT to) {
  constexpr int64_t kRows = 4, kColumns = 64;
  float wide[kRows * kColumns];
  for (int64_t j = begin; j < end; j += kRows) {
    const int64_t rows = end - j < kRows ? end - j : kRows;
    for (int64_t i = 0; i < columns; i += kColumns) {
      const int64_t width = columns - i < kColumns ? columns - i : kColumns;
      for (int64_t r = 0; r < rows; ++r) widen(j + r, i, width, wide + r * kColumns);
      transpose_rows(wide, kColumns, rows, width, to + i * 32 + j);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace r1::attention_detail
HWY_AFTER_NAMESPACE();
#endif
