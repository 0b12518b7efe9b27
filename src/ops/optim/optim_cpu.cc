// ops/optim/optim_cpu.cc: AdamW and the gradient norm on the CPU.
//
//   g = grad * grad_scale
//   m = fma(b1, m, (1 - b1) * g)
//   v = fma(b2, v, (1 - b2) * (g * g))
//   w = fma(-lr, fma(wd, w, (m / c1) / (sqrt(v / c2) + eps)), w)
//
// 1 - b is taken in f32 (exact for b >= 1/2); c is computed in double, then rounded to f32.
#include <algorithm>
#include <cstring>

#include "base/integers.h"
#include "ops/optim/optim_backend.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/optim/optim_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1::cpu {
namespace HWY_NAMESPACE {
using namespace r1::HWY_NAMESPACE;
namespace hn = hwy::HWY_NAMESPACE;

template <class D, class V = hn::VFromD<D>>
HWY_INLINE void adam_step(D d, const AdamConstants& k, float weight_decay, V& w, V grad, V& m, V& v) {
  const V g = hn::Mul(grad, hn::Set(d, k.grad_scale));
  m = hn::MulAdd(hn::Set(d, k.b1), m, hn::Mul(hn::Set(d, k.one_less_b1), g));
  v = hn::MulAdd(hn::Set(d, k.b2), v, hn::Mul(hn::Set(d, k.one_less_b2), hn::Mul(g, g)));
  const V root = hn::Add(hn::Sqrt(hn::Div(v, hn::Set(d, k.c2))), hn::Set(d, k.eps));
  const V step = hn::Div(hn::Div(m, hn::Set(d, k.c1)), root);
  w = hn::NegMulAdd(hn::Set(d, k.lr), hn::MulAdd(hn::Set(d, weight_decay), w, step), w);
}

void adamw_kernel(const AdamConstants& k, float weight_decay, int64_t n, const float* grad, float* w,
                  float* m, float* v) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    auto wi = hn::LoadU(d, w + i), mi = hn::LoadU(d, m + i), vi = hn::LoadU(d, v + i);
    adam_step(d, k, weight_decay, wi, hn::LoadU(d, grad + i), mi, vi);
    hn::StoreU(wi, d, w + i);
    hn::StoreU(mi, d, m + i);
    hn::StoreU(vi, d, v + i);
  }
  if (i < n) {
    const size_t rest = static_cast<size_t>(n - i);
    auto wi = load_some(d, w + i, rest), mi = load_some(d, m + i, rest), vi = load_some(d, v + i, rest);
    adam_step(d, k, weight_decay, wi, load_some(d, grad + i, rest), mi, vi);
    store_some(wi, d, w + i, rest);
    store_some(mi, d, m + i, rest);
    store_some(vi, d, v + i, rest);
  }
}

double block_squares(const float* x, int64_t n) {
  return sum_in_double<true>(x, n);
}

}  // namespace HWY_NAMESPACE
}  // namespace r1::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1::cpu {

HWY_EXPORT(adamw_kernel);
HWY_EXPORT(block_squares);

namespace {

constexpr int64_t kAdamGrain = 4096;  // about 4 us
constexpr int64_t kNormBlock = 4096;

// Returns sum plus the squares of x: one chain over all blocks of all parameters.
double add_squares(ThreadPool& threads, const float* x, int64_t n, double sum) {
  constexpr int64_t kBlocks = 1024;  // on the stack at a time
  double partial[kBlocks];
  for (int64_t first = 0; first < n; first += kBlocks * kNormBlock) {
    const float* at = x + first;
    const int64_t count = std::min(kBlocks * kNormBlock, n - first);
    const int64_t blocks = ceil_div(count, kNormBlock);
    threads.parallel_for(blocks, 4, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        partial[b] = HWY_DYNAMIC_DISPATCH(block_squares)(at + b * kNormBlock,
                                                         std::min(kNormBlock, count - b * kNormBlock));
      }
    });
    for (int64_t b = 0; b < blocks; ++b) sum += partial[b];
  }
  return sum;
}

}  // namespace

void adam_updates(Context& ctx, const AdamUpdates& call) {
  for (const AdamUpdate& u : call.updates) {
    const float* grad = u.grad.f32();
    float *w = u.w.f32(), *m = u.m.f32(), *v = u.v.f32();
    ctx.threads.parallel_for(u.w.count(), kAdamGrain, [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(adamw_kernel)
      (call.constants, u.weight_decay, end - begin, grad + begin, w + begin, m + begin, v + begin);
    });
  }
}

double sum_of_squares(Context& ctx, const GradientNorm& call) {
  if (ctx.measuring) return 0;
  double sum = 0;
  for (const Tensor& g : call.gradients) sum = add_squares(ctx.threads, g.f32(), g.count(), sum);
  return sum;
}

void zero_gradients(Context& ctx, const ZeroGradients& call) {
  ctx.threads.parallel_for(std::ssize(call.gradients), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Tensor& g = call.gradients[static_cast<size_t>(i)];
      std::memset(g.data, 0, g.bytes());
    }
  });
}

}  // namespace r1::cpu
#endif
