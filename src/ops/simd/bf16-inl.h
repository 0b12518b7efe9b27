// ops/simd/bf16-inl.h: loads and stores of bf16 memory as f32 vectors.
//
// Include after hwy/highway.h in a foreach_target file.
#if defined(R1_OPS_SIMD_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef R1_OPS_SIMD_BF16_INL_H_
#undef R1_OPS_SIMD_BF16_INL_H_
#else
#define R1_OPS_SIMD_BF16_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {

// Loads Lanes(d) values at p. Exact.
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::VFromD<D> load_bf16(D d, const uint16_t* p) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Rebind<uint16_t, D> narrow;
  const hn::Rebind<uint32_t, D> bits;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(bits, hn::LoadU(narrow, p))));
}

// Rounds to the nearest bf16 value (ties to even), as f32. NaN stays NaN and keeps its top bits.
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::VFromD<D> rounded_to_bf16(D d, hwy::HWY_NAMESPACE::VFromD<D> v) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Rebind<uint32_t, D> du;
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFFu)));
  const auto quiet = hn::Or(bits, hn::Set(du, 0x00400000u));
  const auto kept = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), quiet, rounded);
  return hn::BitCast(d, hn::And(kept, hn::Set(du, 0xFFFF0000u)));
}

// Rounds Lanes(d) values and stores them at p.
template <class D>
HWY_INLINE void store_bf16(hwy::HWY_NAMESPACE::VFromD<D> v, D d, uint16_t* p) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Rebind<uint16_t, D> narrow;
  const hn::Rebind<uint32_t, D> du;
  const hn::Rebind<int32_t, D> di;
  const hn::Rebind<int16_t, D> ni;
  // The shift is arithmetic: it keeps the sign, so that the saturating conversion to 16 bits changes nothing.
  const auto top = hn::ShiftRight<16>(hn::BitCast(di, hn::BitCast(du, rounded_to_bf16(d, v))));
  hn::StoreU(hn::BitCast(narrow, hn::DemoteTo(ni, top)), narrow, p);
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();
#endif
