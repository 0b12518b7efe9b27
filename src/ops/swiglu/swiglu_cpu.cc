// ops/swiglu/swiglu_cpu.cc: SwiGLU on the CPU.
//
// Backward, with s = 1 / (1 + exp(-gate)):
//
//   dgate = (dy * up) * (s * fma(gate, 1 - s, 1))
//   dup   = dy * (gate * s)
#include "ops/convert/convert.h"
#include "ops/elementwise/elementwise.h"
#include "ops/simd/grain.h"
#include "ops/swiglu/swiglu.h"
#include "ops/swiglu/swiglu_backend.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/swiglu/swiglu_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/simd/exp-inl.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void swiglu_values(const float* gate, const float* up, int64_t n, float* y) {
  map2(gate, up, y, n, [](auto d, auto g, auto u) R1_LAMBDA {
    const auto one_plus_e = hn::Add(hn::Set(d, 1.0f), exp_vector(d, hn::Neg(g)));
    return hn::Mul(hn::Div(g, one_plus_e), u);
  });
}

// One vector of both gradients.
template <class D, class V = hn::VFromD<D>>
HWY_INLINE void swiglu_gradients(D d, V g, V u, V dy, V* dg, V* du) {
  const V one = hn::Set(d, 1.0f);
  const V s = hn::Div(one, hn::Add(one, exp_vector(d, hn::Neg(g))));
  const V slope = hn::Mul(s, hn::MulAdd(g, hn::Sub(one, s), one));
  *dg = hn::Mul(hn::Mul(dy, u), slope);
  *du = hn::Mul(dy, hn::Mul(g, s));
}

// dgate and dup may be gate and up (or dy).
void swiglu_value_gradients(const float* gate, const float* up, const float* dy, int64_t n, float* dgate,
                            float* dup) {
  const hn::ScalableTag<float> d;
  using V = hn::VFromD<decltype(d)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  V dg, du;
  for (; i + lanes <= n; i += lanes) {
    swiglu_gradients(d, hn::LoadU(d, gate + i), hn::LoadU(d, up + i), hn::LoadU(d, dy + i), &dg, &du);
    hn::StoreU(dg, d, dgate + i);
    hn::StoreU(du, d, dup + i);
  }
  if (i < n) {
    const size_t rest = static_cast<size_t>(n - i);
    swiglu_gradients(d, load_some(d, gate + i, rest), load_some(d, up + i, rest), load_some(d, dy + i, rest),
                     &dg, &du);
    store_some(dg, d, dgate + i, rest);
    store_some(du, d, dup + i, rest);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1 {

HWY_EXPORT(swiglu_values);
HWY_EXPORT(swiglu_value_gradients);

namespace {
constexpr int64_t kGrain = kGrainFloats / 2;  // an exp and a division per element: twice the work of a copy
}  // namespace

void swiglu_into(ThreadPool& threads, const float* gate, const float* up, int64_t n, float* y) {
  threads.parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(swiglu_values)(gate + begin, up + begin, end - begin, y + begin);
  });
}

void swiglu_backward_into(ThreadPool& threads, const float* gate, const float* up, const float* dy, int64_t n,
                          float* dgate, float* dup) {
  threads.parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(swiglu_value_gradients)
    (gate + begin, up + begin, dy + begin, end - begin, dgate + begin, dup + begin);
  });
}

namespace cpu {

void swiglu_forward(Context& ctx, const SwigluForward& call) {
  const OpScope scope(ctx);
  const F32Output out(ctx, call.y);
  swiglu_into(ctx.threads, as_f32(ctx, call.gate), as_f32(ctx, call.up), call.y.count(), out.data());
  out.store(ctx);
}

void swiglu_backward(Context& ctx, const SwigluBackward& call) {
  const OpScope scope(ctx);
  const int64_t n = call.dy.count();
  const bool gate_direct = call.dgate && !call.dgate.accumulate, up_direct = call.dup && !call.dup.accumulate;
  float* dgate = gate_direct ? call.dgate.grad.f32() : ctx.arena.array<float>(n);
  float* dup = up_direct ? call.dup.grad.f32() : ctx.arena.array<float>(n);
  swiglu_backward_into(ctx.threads, as_f32(ctx, call.gate), as_f32(ctx, call.up), call.dy.f32(), n, dgate,
                       dup);
  if (call.dgate && !gate_direct) add_into(ctx.threads, dgate, n, call.dgate.grad.f32());
  if (call.dup && !up_direct) add_into(ctx.threads, dup, n, call.dup.grad.f32());
}

}  // namespace cpu
}  // namespace r1
#endif
