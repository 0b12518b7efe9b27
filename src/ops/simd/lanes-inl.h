// ops/simd/lanes-inl.h: sixteen virtual lanes, so that no sum depends on how wide the machine's vectors are.
//
// Lanes16 is sixteen floats: one vector of AVX-512, two of AVX2, four of NEON. Element i of a row belongs
// to lane i mod 16; lanes are combined 8, 4, 2, 1 apart. If a row ends inside a block, the lanes past its
// end keep what they held.
//
// Include after hwy/highway.h in a foreach_target file; use inside r1::HWY_NAMESPACE.
#if defined(R1_OPS_SIMD_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef R1_OPS_SIMD_LANES_INL_H_
#undef R1_OPS_SIMD_LANES_INL_H_
#else
#define R1_OPS_SIMD_LANES_INL_H_
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"

// Goes after the parameters of a lambda that takes or returns vectors. It sets the kernel's instruction
// set and always inlines: a vector that crosses a call goes through memory, and g++ 12 sometimes
// crashes on it with AVX-512.
#undef R1_LAMBDA
#define R1_LAMBDA HWY_ATTR __attribute__((always_inline))

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {

// Loads the first n < Lanes(d) floats at p, with zeros above. Memory past them is not read.
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::VFromD<D> load_some(D d, const float* HWY_RESTRICT p, size_t n) {
  namespace hn = hwy::HWY_NAMESPACE;
#if HWY_MEM_OPS_MIGHT_FAULT
  HWY_ALIGN float buffer[hn::MaxLanes(d)] = {};
  for (size_t i = 0; i < n; ++i) buffer[i] = p[i];
  return hn::Load(d, buffer);
#else
  return hn::MaskedLoad(hn::FirstN(d, n), d, p);
#endif
}

// Stores the first n < Lanes(d) lanes of v at p. Memory past them is not written.
template <class D>
HWY_INLINE void store_some(hwy::HWY_NAMESPACE::VFromD<D> v, D d, float* HWY_RESTRICT p, size_t n) {
  namespace hn = hwy::HWY_NAMESPACE;
#if HWY_MEM_OPS_MIGHT_FAULT
  HWY_ALIGN float buffer[hn::MaxLanes(d)];
  hn::Store(v, d, buffer);
  for (size_t i = 0; i < n; ++i) p[i] = buffer[i];
#else
  hn::BlendedStore(v, hn::FirstN(d, n), d, p);
#endif
}

// out[i] = f(d, a[i]) for n elements; f takes and returns vectors. out may be a.
template <class F>
HWY_INLINE void map1(const float* a, float* out, int64_t n, const F& f) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(d, hn::LoadU(d, a + i)), d, out + i);
  if (i < n) {
    const size_t rest = static_cast<size_t>(n - i);
    store_some(f(d, load_some(d, a + i, rest)), d, out + i, rest);
  }
}

// out[i] = f(d, a[i], b[i]). out may be a or b.
template <class F>
HWY_INLINE void map2(const float* a, const float* b, float* out, int64_t n, const F& f) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(f(d, hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  }
  if (i < n) {
    const size_t rest = static_cast<size_t>(n - i);
    store_some(f(d, load_some(d, a + i, rest), load_some(d, b + i, rest)), d, out + i, rest);
  }
}

// out[i] = f(d, a[i], b[i], c[i]). out may be any of them.
template <class F>
HWY_INLINE void map3(const float* a, const float* b, const float* c, float* out, int64_t n, const F& f) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(f(d, hn::LoadU(d, a + i), hn::LoadU(d, b + i), hn::LoadU(d, c + i)), d, out + i);
  }
  if (i < n) {
    const size_t rest = static_cast<size_t>(n - i);
    store_some(f(d, load_some(d, a + i, rest), load_some(d, b + i, rest), load_some(d, c + i, rest)), d,
               out + i, rest);
  }
}

// out[i] = f(d, a[i], b[i], c[i], e[i]). out may be any of them.
template <class F>
HWY_INLINE void map4(const float* a, const float* b, const float* c, const float* e, float* out, int64_t n,
                     const F& f) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(f(d, hn::LoadU(d, a + i), hn::LoadU(d, b + i), hn::LoadU(d, c + i), hn::LoadU(d, e + i)), d,
               out + i);
  }
  if (i < n) {
    const size_t rest = static_cast<size_t>(n - i);
    store_some(f(d, load_some(d, a + i, rest), load_some(d, b + i, rest), load_some(d, c + i, rest),
                 load_some(d, e + i, rest)),
               d, out + i, rest);
  }
}

using LaneTag = hwy::HWY_NAMESPACE::CappedTag<float, 16>;
using LaneVector = hwy::HWY_NAMESPACE::VFromD<LaneTag>;
inline constexpr size_t kLaneWidth = hwy::HWY_NAMESPACE::MaxLanes(LaneTag());
inline constexpr size_t kLaneVectors = 16 / kLaneWidth;

struct Lanes16 {
  LaneVector v[kLaneVectors];

  static HWY_INLINE Lanes16 set(float value) {
    Lanes16 out;
    for (size_t i = 0; i < kLaneVectors; ++i) out.v[i] = hwy::HWY_NAMESPACE::Set(LaneTag(), value);
    return out;
  }
};

// For every element i in order: lane i mod 16 becomes step(d, lane, p[i]).
template <class Step>
HWY_INLINE Lanes16 fold(Lanes16 lanes, const float* HWY_RESTRICT p, int64_t n, const Step& step) {
  namespace hn = hwy::HWY_NAMESPACE;
  const LaneTag d;
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (size_t k = 0; k < kLaneVectors; ++k) {
      lanes.v[k] = step(d, lanes.v[k], hn::LoadU(d, p + i + static_cast<int64_t>(k * kLaneWidth)));
    }
  }
  for (size_t k = 0; k < kLaneVectors && i < n; ++k, i += static_cast<int64_t>(kLaneWidth)) {
    const size_t rest = static_cast<size_t>(n - i);
    if (rest >= kLaneWidth) {
      lanes.v[k] = step(d, lanes.v[k], hn::LoadU(d, p + i));
    } else {
      const LaneVector stepped = step(d, lanes.v[k], load_some(d, p + i, rest));
      lanes.v[k] = hn::IfThenElse(hn::FirstN(d, rest), stepped, lanes.v[k]);
    }
  }
  return lanes;
}

// The same over two arrays: step(d, lane, x, y).
template <class Step>
HWY_INLINE Lanes16 fold2(Lanes16 lanes, const float* HWY_RESTRICT p, const float* HWY_RESTRICT q, int64_t n,
                         const Step& step) {
  namespace hn = hwy::HWY_NAMESPACE;
  const LaneTag d;
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (size_t k = 0; k < kLaneVectors; ++k) {
      const int64_t at = i + static_cast<int64_t>(k * kLaneWidth);
      lanes.v[k] = step(d, lanes.v[k], hn::LoadU(d, p + at), hn::LoadU(d, q + at));
    }
  }
  for (size_t k = 0; k < kLaneVectors && i < n; ++k, i += static_cast<int64_t>(kLaneWidth)) {
    const size_t rest = static_cast<size_t>(n - i);
    if (rest >= kLaneWidth) {
      lanes.v[k] = step(d, lanes.v[k], hn::LoadU(d, p + i), hn::LoadU(d, q + i));
    } else {
      const LaneVector stepped = step(d, lanes.v[k], load_some(d, p + i, rest), load_some(d, q + i, rest));
      lanes.v[k] = hn::IfThenElse(hn::FirstN(d, rest), stepped, lanes.v[k]);
    }
  }
  return lanes;
}

// The same over three arrays: step(d, lane, x, y, z).
template <class Step>
HWY_INLINE Lanes16 fold3(Lanes16 lanes, const float* HWY_RESTRICT p, const float* HWY_RESTRICT q,
                         const float* HWY_RESTRICT r, int64_t n, const Step& step) {
  namespace hn = hwy::HWY_NAMESPACE;
  const LaneTag d;
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (size_t k = 0; k < kLaneVectors; ++k) {
      const int64_t at = i + static_cast<int64_t>(k * kLaneWidth);
      lanes.v[k] = step(d, lanes.v[k], hn::LoadU(d, p + at), hn::LoadU(d, q + at), hn::LoadU(d, r + at));
    }
  }
  for (size_t k = 0; k < kLaneVectors && i < n; ++k, i += static_cast<int64_t>(kLaneWidth)) {
    const size_t rest = static_cast<size_t>(n - i);
    if (rest >= kLaneWidth) {
      lanes.v[k] = step(d, lanes.v[k], hn::LoadU(d, p + i), hn::LoadU(d, q + i), hn::LoadU(d, r + i));
    } else {
      const LaneVector stepped = step(d, lanes.v[k], load_some(d, p + i, rest), load_some(d, q + i, rest),
                                      load_some(d, r + i, rest));
      lanes.v[k] = hn::IfThenElse(hn::FirstN(d, rest), stepped, lanes.v[k]);
    }
  }
  return lanes;
}

// Combines lanes 8, 4, 2, 1 apart with join (commutative): the tree of every row reduction.
template <class D, class Join>
HWY_INLINE float combine_vector(D d, hwy::HWY_NAMESPACE::VFromD<D> v, const Join& join) {
  namespace hn = hwy::HWY_NAMESPACE;
  if constexpr (hn::MaxLanes(d) > 4) {
    const hn::Half<D> half;
    return combine_vector(half, join(hn::LowerHalf(half, v), hn::UpperHalf(half, v)), join);
  } else {
    v = join(v, hn::Shuffle1032(v));
    v = join(v, hn::Shuffle2301(v));
    return hn::GetLane(v);
  }
}
template <class Join>
HWY_INLINE float combine(const Lanes16& lanes, const Join& join) {
  LaneVector v[kLaneVectors];  // copied element by element: g++ 12 crashes on some copies of the whole struct
  for (size_t k = 0; k < kLaneVectors; ++k) v[k] = lanes.v[k];
  for (size_t apart = kLaneVectors / 2; apart > 0; apart /= 2) {
    for (size_t k = 0; k < apart; ++k) v[k] = join(v[k], v[k + apart]);
  }
  return combine_vector(LaneTag(), v[0], join);
}

HWY_INLINE float tree_sum(const Lanes16& lanes) {
  return combine(lanes, [](auto a, auto b) R1_LAMBDA { return hwy::HWY_NAMESPACE::Add(a, b); });
}

HWY_INLINE float tree_max(const Lanes16& lanes) {
  return combine(lanes, [](auto a, auto b) R1_LAMBDA { return hwy::HWY_NAMESPACE::Max(a, b); });
}

// Sum of x (or of its squares) in sixteen double lanes: lane = i mod 16, i in order; lanes 8, 4, 2, 1 apart.
template <bool kSquares>
HWY_INLINE double sum_in_double(const float* x, int64_t n) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::CappedTag<double, 8> d;
  const hn::Rebind<float, decltype(d)> df;
  using V = hn::VFromD<decltype(d)>;
  constexpr size_t kWidth = hn::MaxLanes(d);
  constexpr size_t kVectors = 16 / kWidth;
  V sums[kVectors];
  for (size_t k = 0; k < kVectors; ++k) sums[k] = hn::Zero(d);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (size_t k = 0; k < kVectors; ++k) {
      const V v = hn::PromoteTo(d, hn::LoadU(df, x + i + static_cast<int64_t>(k * kWidth)));
      sums[k] = kSquares ? hn::MulAdd(v, v, sums[k]) : hn::Add(v, sums[k]);
    }
  }
  HWY_ALIGN double lane[16];
  for (size_t k = 0; k < kVectors; ++k) hn::Store(sums[k], d, lane + k * kWidth);
  for (size_t l = 0; i < n; ++i, ++l) {
    const double v = x[i];
    lane[l] = kSquares ? std::fma(v, v, lane[l]) : v + lane[l];
  }
  for (size_t apart = 8; apart > 0; apart /= 2) {
    for (size_t l = 0; l < apart; ++l) lane[l] += lane[l + apart];
  }
  return lane[0];
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();
#endif
