// ops/simd/exp-inl.h: the exp of ops/simd/exp.h over any Highway vector of f32; the same bits as the scalar.
//
// Include after hwy/highway.h in a foreach_target file; use inside r1::HWY_NAMESPACE.
#if defined(R1_OPS_SIMD_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef R1_OPS_SIMD_EXP_INL_H_
#undef R1_OPS_SIMD_EXP_INL_H_
#else
#define R1_OPS_SIMD_EXP_INL_H_
#endif

#include <limits>

#include "hwy/highway.h"
#include "ops/simd/exp.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {

template <class D, class V = hwy::HWY_NAMESPACE::VFromD<D>>
HWY_INLINE V exp_vector(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToUnsigned<D> du;
  const V round = hn::Set(d, kExpRound);
  const V rounded = hn::MulAdd(x, hn::Set(d, kExpLog2E), round);
  const V n = hn::Sub(rounded, round);
  V r = hn::NegMulAdd(n, hn::Set(d, kExpLn2High), x);
  r = hn::NegMulAdd(n, hn::Set(d, kExpLn2Low), r);
  V q = hn::MulAdd(hn::Set(d, kExpQ[0]), r, hn::Set(d, kExpQ[1]));
  q = hn::MulAdd(q, r, hn::Set(d, kExpQ[2]));
  q = hn::MulAdd(q, r, hn::Set(d, kExpQ[3]));
  q = hn::MulAdd(q, r, hn::Set(d, kExpQ[4]));
  const V p = hn::Add(hn::MulAdd(q, hn::Mul(r, r), r), hn::Set(d, 1.0f));
  V y = hn::BitCast(d, hn::Add(hn::BitCast(du, p), hn::ShiftLeft<23>(hn::BitCast(du, rounded))));
  y = hn::IfThenElse(hn::Lt(x, hn::Set(d, kExpLow)), hn::Zero(d), y);
  y = hn::IfThenElse(hn::Gt(x, hn::Set(d, kExpHigh)), hn::Set(d, std::numeric_limits<float>::infinity()), y);
  return hn::IfThenElse(hn::Eq(x, x), y, x);
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();
#endif
