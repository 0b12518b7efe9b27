// ops/moe/moe_kernels_cpu.cc: see moe_kernels.h.
//
// Rounding: silu(g) = g / (1 + e) with e = exp(-g), as in ops/swiglu; its slope is s * fma(g, 1 - s, 1) with
// s = 1 / (1 + e).
#include <cstddef>
#include <cstring>

#include "ops/moe/moe_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/moe/moe_kernels_cpu.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "ops/simd/bf16-inl.h"
#include "ops/simd/exp-inl.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void moe_sigmoid(float* z, int64_t n) {
  map1(z, z, n, [](auto d, auto v) HWY_ATTR {
    const auto one = hn::Set(d, 1.0f);
    return hn::Div(one, hn::Add(one, exp_vector(d, hn::Neg(v))));
  });
}

void moe_softmax(float* z, int64_t T, int64_t E) {
  for (int64_t t = 0; t < T; ++t) {
    float* row = z + t * E;
    float most = row[0], sum = 0;
    for (int64_t e = 1; e < E; ++e) most = most < row[e] ? row[e] : most;
    map1(row, row, E,
         [most](auto d, auto v) HWY_ATTR { return exp_vector(d, hn::Sub(v, hn::Set(d, most))); });
    for (int64_t e = 0; e < E; ++e) sum += row[e];
    map1(row, row, E, [sum](auto d, auto v) HWY_ATTR { return hn::Div(v, hn::Set(d, sum)); });
  }
}

void moe_ranks(int32_t* keys, int64_t n, int32_t* rank) {
  const hn::CappedTag<int32_t, 16> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = n; i % 16 != 0; ++i) keys[i] = INT32_MIN;
  for (int64_t i = 0; i < n; i += lanes) {
    const auto mine = hn::Load(d, keys + i);
    const auto index = hn::Iota(d, static_cast<int32_t>(i));
    auto before = hn::Zero(d);
    for (int64_t j = 0; j < n; ++j) {
      // A true mask lane is -1. Of equal keys, the one of the lower index comes first.
      const auto other = hn::Set(d, keys[j]);
      const auto lower = hn::Gt(index, hn::Set(d, static_cast<int32_t>(j)));
      const auto first = hn::Or(hn::Gt(other, mine), hn::And(hn::Eq(other, mine), lower));
      before = hn::Sub(before, hn::VecFromMask(d, first));
    }
    hn::Store(before, d, rank + i);
  }
}

// y[i] = store(sum), where sum folds the rows in order: first(row, a), then next(sum, row, a).
template <class First, class Next, class Store>
HWY_INLINE void fold_rows(const float* in, const int32_t* rows, int64_t A, int64_t D, float* y,
                          const First& first, const Next& next, const Store& store) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= D; i += lanes) {
    auto sum = first(d, hn::LoadU(d, in + rows[0] * D + i), 0);
    for (int64_t a = 1; a < A; ++a) sum = next(d, sum, hn::LoadU(d, in + rows[a] * D + i), a);
    hn::StoreU(store(d, sum, hn::LoadU(d, y + i)), d, y + i);
  }
  if (i < D) {
    const size_t rest = static_cast<size_t>(D - i);
    auto sum = first(d, load_some(d, in + rows[0] * D + i, rest), 0);
    for (int64_t a = 1; a < A; ++a) sum = next(d, sum, load_some(d, in + rows[a] * D + i, rest), a);
    store_some(store(d, sum, load_some(d, y + i, rest)), d, y + i, rest);
  }
}

void moe_combine(const float* in, const int32_t* rows, const float* weights, int64_t begin, int64_t end,
                 int64_t A, int64_t D, float* y) {
  for (int64_t t = begin; t < end; ++t) {
    const float* w = weights + t * A;
    fold_rows(
        in, rows + t * A, A, D, y + t * D,
        [w](auto d, auto row, int64_t a) HWY_ATTR { return hn::MulAdd(hn::Set(d, w[a]), row, hn::Zero(d)); },
        [w](auto d, auto sum, auto row, int64_t a)
            HWY_ATTR { return hn::MulAdd(hn::Set(d, w[a]), row, sum); },
        [](auto, auto sum, auto) HWY_ATTR { return sum; });
  }
}

void moe_add_rows(const float* in, const int32_t* rows, int64_t begin, int64_t end, int64_t A, int64_t D,
                  bool accumulate, float* y) {
  const auto first = [](auto, auto row, int64_t) HWY_ATTR { return row; };
  const auto next = [](auto, auto sum, auto row, int64_t) HWY_ATTR { return hn::Add(sum, row); };
  for (int64_t t = begin; t < end; ++t) {
    if (accumulate) {
      fold_rows(in, rows + t * A, A, D, y + t * D, first, next,
                [](auto, auto sum, auto held) HWY_ATTR { return hn::Add(held, sum); });
    } else {
      fold_rows(in, rows + t * A, A, D, y + t * D, first, next,
                [](auto, auto sum, auto) HWY_ATTR { return sum; });
    }
  }
}

struct SwigluGradient {
  LaneVector h, dgate, dup, scaled;
};

template <bool kRoundH>
HWY_INLINE SwigluGradient swiglu_gradient(LaneVector g, LaneVector u, LaneVector dh, LaneVector weight) {
  const LaneTag d;
  const LaneVector one = hn::Set(d, 1.0f);
  const LaneVector denominator = hn::Add(one, exp_vector(d, hn::Neg(g)));
  const LaneVector s = hn::Div(one, denominator);
  const LaneVector silu = hn::Div(g, denominator);
  const LaneVector slope = hn::Mul(s, hn::MulAdd(g, hn::Sub(one, s), one));
  const LaneVector exact = hn::Mul(silu, u), h = kRoundH ? rounded_to_bf16(d, exact) : exact;
  const LaneVector flow = hn::Mul(weight, dh);
  return {h, hn::Mul(hn::Mul(flow, u), slope), hn::Mul(flow, silu), hn::Mul(weight, h)};
}

template <bool kRoundH>
HWY_INLINE float swiglu_row_backward_impl(float* gate, float* up, float* dh, int64_t F, float weight) {
  const LaneTag d;
  const LaneVector w = hn::Set(d, weight);
  const int64_t width = static_cast<int64_t>(kLaneWidth);
  Lanes16 dot = Lanes16::set(0.0f);
  int64_t i = 0;
  for (; i + 16 <= F; i += 16) {
    for (size_t k = 0; k < kLaneVectors; ++k) {
      const int64_t at = i + static_cast<int64_t>(k) * width;
      const LaneVector in = hn::LoadU(d, dh + at);
      const SwigluGradient r =
          swiglu_gradient<kRoundH>(hn::LoadU(d, gate + at), hn::LoadU(d, up + at), in, w);
      dot.v[k] = hn::MulAdd(r.h, in, dot.v[k]);
      hn::StoreU(r.dgate, d, gate + at);
      hn::StoreU(r.dup, d, up + at);
      hn::StoreU(r.scaled, d, dh + at);
    }
  }
  for (size_t k = 0; k < kLaneVectors && i < F; ++k, i += width) {
    const size_t rest = static_cast<size_t>(F - i < width ? F - i : width);
    const auto mask = hn::FirstN(d, rest);
    const bool whole = rest == kLaneWidth;
    const LaneVector g = whole ? hn::LoadU(d, gate + i) : load_some(d, gate + i, rest);
    const LaneVector u = whole ? hn::LoadU(d, up + i) : load_some(d, up + i, rest);
    const LaneVector in = whole ? hn::LoadU(d, dh + i) : load_some(d, dh + i, rest);
    const SwigluGradient r = swiglu_gradient<kRoundH>(g, u, in, w);
    dot.v[k] = hn::IfThenElse(mask, hn::MulAdd(r.h, in, dot.v[k]), dot.v[k]);
    if (whole) {
      hn::StoreU(r.dgate, d, gate + i);
      hn::StoreU(r.dup, d, up + i);
      hn::StoreU(r.scaled, d, dh + i);
    } else {
      store_some(r.dgate, d, gate + i, rest);
      store_some(r.dup, d, up + i, rest);
      store_some(r.scaled, d, dh + i, rest);
    }
  }
  return tree_sum(dot);
}

float moe_swiglu_row_backward(float* gate, float* up, float* dh, int64_t F, float weight, bool round_h) {
  return round_h ? swiglu_row_backward_impl<true>(gate, up, dh, F, weight)
                 : swiglu_row_backward_impl<false>(gate, up, dh, F, weight);
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1 {
HWY_EXPORT(moe_sigmoid);
HWY_EXPORT(moe_softmax);
HWY_EXPORT(moe_ranks);
HWY_EXPORT(moe_combine);
HWY_EXPORT(moe_add_rows);
HWY_EXPORT(moe_swiglu_row_backward);

namespace moe_kernels {

void sigmoid(float* z, int64_t n) {
  HWY_DYNAMIC_DISPATCH(moe_sigmoid)(z, n);
}

void softmax(float* z, int64_t T, int64_t E) {
  HWY_DYNAMIC_DISPATCH(moe_softmax)(z, T, E);
}

void ranks(int32_t* keys, int64_t n, int32_t* rank) {
  HWY_DYNAMIC_DISPATCH(moe_ranks)(keys, n, rank);
}

void gather(const float* in, const int32_t* index, int64_t begin, int64_t end, int64_t D, float* out) {
  const size_t bytes = static_cast<size_t>(D) * sizeof(float);
  for (int64_t r = begin; r < end; ++r) std::memcpy(out + r * D, in + index[r] * D, bytes);
}

void combine(const float* in, const int32_t* rows, const float* weights, int64_t begin, int64_t end,
             int64_t A, int64_t D, float* y) {
  HWY_DYNAMIC_DISPATCH(moe_combine)(in, rows, weights, begin, end, A, D, y);
}

void add_rows(const float* in, const int32_t* rows, int64_t begin, int64_t end, int64_t A, int64_t D,
              bool accumulate, float* y) {
  HWY_DYNAMIC_DISPATCH(moe_add_rows)(in, rows, begin, end, A, D, accumulate, y);
}

float swiglu_row_backward(float* gate, float* up, float* dh, int64_t F, float weight, bool round_h) {
  return HWY_DYNAMIC_DISPATCH(moe_swiglu_row_backward)(gate, up, dh, F, weight, round_h);
}

}  // namespace moe_kernels
}  // namespace r1
#endif
