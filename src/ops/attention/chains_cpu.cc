// ops/attention/chains_cpu.cc: chains-inl.h's inner product: register tiles, and how outputs are cut into
// them.
#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "ops/attention/kernels_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention/chains_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/attention/chains-inl.h"
#include "ops/simd/bf16-inl.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1::attention_detail {
namespace HWY_NAMESPACE {
using namespace r1::HWY_NAMESPACE;

// The layout of A: blocks of kBlock steps of k. In a block, steps of m are kM floats apart, steps of k kK.
struct RowTiles {  // [k / 32][m][k % 32]
  static constexpr int64_t kBlock = 32, kM = 32, kK = 1;
};
struct TransposedTiles {  // [k / 12][k % 12][m]
  static constexpr int64_t kBlock = 12, kM = 1, kK = 32;
};

#if HWY_TARGET == HWY_AVX2
inline constexpr int64_t kAccumulators = 12;  // of 16 registers
#else
inline constexpr int64_t kAccumulators = 24;  // of 32
#endif

inline constexpr int64_t kLanes = static_cast<int64_t>(kLaneWidth);

// Elements of B in q8, with the scales of their columns or of their steps of k.
struct Q8Columns {
  int8_t q;
};
struct Q8Steps {
  int8_t q;
};

HWY_INLINE LaneVector widened_q8(const int8_t* b) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Rebind<int8_t, LaneTag> d8;
  const hn::Rebind<int32_t, LaneTag> d32;
  return hn::ConvertTo(LaneTag(), hn::PromoteTo(d32, hn::LoadU(d8, b)));
}

// Loads one vector of B: all of it, or its first `tail` elements. Numbers of q8 are without their scales.
template <bool kMasked>
HWY_INLINE LaneVector load_b(const float* b, size_t tail) {
  return kMasked ? load_some(LaneTag(), b, tail) : hwy::HWY_NAMESPACE::LoadU(LaneTag(), b);
}
template <bool kMasked>
HWY_INLINE LaneVector load_b(const uint16_t* b, size_t tail) {
  if constexpr (kMasked) {
    HWY_ALIGN uint16_t buffer[kLaneWidth] = {};
    for (size_t i = 0; i < tail; ++i) buffer[i] = b[i];
    return load_bf16(LaneTag(), buffer);
  } else {
    return load_bf16(LaneTag(), b);
  }
}

template <bool kMasked, class Q8>
requires(sizeof(Q8) == 1) HWY_INLINE LaneVector load_b(const Q8* b, size_t tail) {
  if constexpr (kMasked) {
    HWY_ALIGN int8_t buffer[kLaneWidth] = {};
    for (size_t i = 0; i < tail; ++i) buffer[i] = b[i].q;
    return widened_q8(buffer);
  } else {
    return widened_q8(&b->q);
  }
}

template <int kRows, int kVectors, bool kMasked, class Form, class B>
void chain_kernel(const Chain& c, const float* HWY_RESTRICT a, const B* b, float* HWY_RESTRICT out,
                  int64_t column, size_t tail) {
  namespace hn = hwy::HWY_NAMESPACE;
  const LaneTag d;
  using V = LaneVector;
  V acc[kRows][kVectors];
  int64_t b_at[kVectors], c_at[kVectors], scale_at[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    const int64_t panel = (column + v * kLanes) / 32, in_panel = (column + v * kLanes) % 32;
    b_at[v] = panel * c.b_panel + in_panel;
    c_at[v] = panel * c.c_panel + in_panel;
    scale_at[v] = panel * c.scale_panel + in_panel;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      acc[r][v] = c.accumulate ? hn::LoadU(d, out + r * c.c_row + c_at[v]) : hn::Zero(d);
    }
  }
  const int64_t b_row = c.b_row, k_end = c.k_end;
  for (int64_t k = c.k_begin; k < k_end;) {
    const int64_t block = k / Form::kBlock, from = k % Form::kBlock;
    const int64_t end = (block + 1) * Form::kBlock < k_end ? (block + 1) * Form::kBlock : k_end;
    const float* HWY_RESTRICT ak = a + block * c.a_block + from * Form::kK;
    const int64_t b_block = c.pages == nullptr ? block : c.pages[block];
    const B* HWY_RESTRICT bk = b + b_block * c.b_block + from * b_row;
    const float* HWY_RESTRICT scales = c.scales;
    if constexpr (std::is_same_v<B, Q8Steps>) scales += b_block * c.scale_block + from;
    for (int64_t n = end - k; n > 0; --n) {
      V bv[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        bv[v] = load_b<kMasked>(bk + b_at[v], tail);
        if constexpr (std::is_same_v<B, Q8Columns>)
          bv[v] = hn::Mul(bv[v], hn::LoadU(d, scales + scale_at[v]));
        if constexpr (std::is_same_v<B, Q8Steps>) bv[v] = hn::Mul(bv[v], hn::Set(d, *scales));
      }
      if constexpr (std::is_same_v<B, Q8Steps>) ++scales;
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const V av = hn::Set(d, ak[r * Form::kM]);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::MulAdd(av, bv[v], acc[r][v]);
      }
      ak += Form::kK;
      bk += b_row;
    }
    k = end;
  }
  const V scale = hn::Set(d, c.scale);
  const bool scaled = c.scale != 1.0f;
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(scaled ? hn::Mul(acc[r][v], scale) : acc[r][v], d, out + r * c.c_row + c_at[v]);
    }
  }
}

template <class B>
using ChainKernel = void (*)(const Chain&, const float*, const B*, float*, int64_t, size_t);

template <int kVectors>
inline constexpr int64_t kMaxRows = kAccumulators / kVectors < 12 ? kAccumulators / kVectors : 12;

template <int kVectors, bool kMasked, class Form, class B, size_t... kRows>
constexpr std::array<ChainKernel<B>, sizeof...(kRows)> chain_table(std::index_sequence<kRows...>) {
  return {&chain_kernel<static_cast<int>(kRows) + 1, kVectors, kMasked, Form, B>...};
}

// Computes `rows` rows and kVectors vectors of columns from column `col`, with the rows in as few equal
// parts as registers allow.
template <int kVectors, bool kMasked, class Form, class B>
void chain_columns(const Chain& c, int64_t rows, int64_t col, size_t tail) {
  constexpr int64_t kMax = kMaxRows<kVectors>;
  static constexpr auto kTable =
      chain_table<kVectors, kMasked, Form, B>(std::make_index_sequence<static_cast<size_t>(kMax)>());
  const int64_t parts = ceil_div(rows, kMax), most = ceil_div(rows, parts);
  for (int64_t r = 0; r < rows; r += most) {
    const int64_t n = r + most < rows ? most : rows - r;
    kTable[static_cast<size_t>(n - 1)](c, c.a + r * Form::kM, static_cast<const B*>(c.b), c.c + r * c.c_row,
                                       col, tail);
  }
}

// Uses the widest kernel whose accumulators fit the registers: few rows by few vectors would not hide the
// FMA's latency.
template <class B>
void chain_rows_of(const Chain& c, int64_t rows, int64_t begin, int64_t end) {
  int64_t col = begin;
  while (col < end) {
    const int64_t left = end - col;
    if (rows <= kMaxRows<4> && left >= 4 * kLanes) {
      chain_columns<4, false, RowTiles, B>(c, rows, col, 0);
      col += 4 * kLanes;
    } else if (rows <= kMaxRows<3> && left >= 3 * kLanes) {
      chain_columns<3, false, RowTiles, B>(c, rows, col, 0);
      col += 3 * kLanes;
    } else if (left >= 2 * kLanes) {
      chain_columns<2, false, RowTiles, B>(c, rows, col, 0);
      col += 2 * kLanes;
    } else if (left >= kLanes) {
      chain_columns<1, false, RowTiles, B>(c, rows, col, 0);
      col += kLanes;
    } else {
      chain_columns<1, true, RowTiles, B>(c, rows, col, static_cast<size_t>(left));
      col = end;
    }
  }
}

void chain_rows(const Chain& c, int64_t rows, int64_t begin, int64_t end) {
  if (c.b_type == DType::bf16) {
    chain_rows_of<uint16_t>(c, rows, begin, end);
  } else if (c.b_type == DType::f32) {
    chain_rows_of<float>(c, rows, begin, end);
  } else if (c.scales_of_columns) {
    chain_rows_of<Q8Columns>(c, rows, begin, end);
  } else {
    chain_rows_of<Q8Steps>(c, rows, begin, end);
  }
}

template <int kVectors>
void strip_columns(const Chain& c, int64_t col) {
  constexpr int kStrip = static_cast<int>(kKeyStrip);
  constexpr int kRows = kVectors * kStrip <= kAccumulators ? kStrip : kStrip / 2;
  const auto* b = static_cast<const float*>(c.b);
  for (int64_t r = 0; r < kStrip; r += kRows) {
    chain_kernel<kRows, kVectors, false, TransposedTiles, float>(c, c.a + r, b, c.c + r * c.c_row, col, 0);
  }
}

void chain_strip(const Chain& c, int64_t columns) {
  for (int64_t col = 0; col < columns;) {
    if (columns - col >= 2 * kLanes) {
      strip_columns<2>(c, col);
      col += 2 * kLanes;
    } else {
      strip_columns<1>(c, col);
      col += kLanes;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace r1::attention_detail
HWY_AFTER_NAMESPACE();
