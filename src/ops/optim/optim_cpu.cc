// ops/optim/optim_cpu.cc: AdamW and the gradient norm on the CPU.
//
//   g = grad * grad_scale
//   m = fma(b1, m, (1 - b1) * g)
//   v = fma(b2, v, (1 - b2) * (g * g))
//   w = fma(-lr, fma(wd, w, (m / c1) / (sqrt(v / c2) + eps)), w)
//
// 1 - b is taken in f32 (exact for b >= 1/2); c is computed in double, then rounded to f32.
#include <algorithm>
#include <cmath>

#include "base/integers.h"
#include "base/math.h"
#include "ops/optim/optim.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/optim/optim_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/simd/lanes-inl.h"

#ifndef R1_OPS_OPTIM_TYPES
#define R1_OPS_OPTIM_TYPES
namespace r1 {
namespace {
struct AdamConstants {
  float lr, b1, b2, one_less_b1, one_less_b2, c1, c2, eps, weight_decay, grad_scale;
};
constexpr int64_t kNormBlock = 4096;
}  // namespace
}  // namespace r1
#endif

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D, class V = hn::VFromD<D>>
HWY_INLINE void adam_step(D d, const AdamConstants& k, V& w, V grad, V& m, V& v) {
  const V g = hn::Mul(grad, hn::Set(d, k.grad_scale));
  m = hn::MulAdd(hn::Set(d, k.b1), m, hn::Mul(hn::Set(d, k.one_less_b1), g));
  v = hn::MulAdd(hn::Set(d, k.b2), v, hn::Mul(hn::Set(d, k.one_less_b2), hn::Mul(g, g)));
  const V root = hn::Add(hn::Sqrt(hn::Div(v, hn::Set(d, k.c2))), hn::Set(d, k.eps));
  const V step = hn::Div(hn::Div(m, hn::Set(d, k.c1)), root);
  w = hn::NegMulAdd(hn::Set(d, k.lr), hn::MulAdd(hn::Set(d, k.weight_decay), w, step), w);
}

void adamw_kernel(const AdamConstants& k, int64_t n, const float* grad, float* w, float* m, float* v) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    auto wi = hn::LoadU(d, w + i), mi = hn::LoadU(d, m + i), vi = hn::LoadU(d, v + i);
    adam_step(d, k, wi, hn::LoadU(d, grad + i), mi, vi);
    hn::StoreU(wi, d, w + i);
    hn::StoreU(mi, d, m + i);
    hn::StoreU(vi, d, v + i);
  }
  if (i < n) {
    const size_t rest = static_cast<size_t>(n - i);
    auto wi = load_some(d, w + i, rest), mi = load_some(d, m + i, rest), vi = load_some(d, v + i, rest);
    adam_step(d, k, wi, load_some(d, grad + i, rest), mi, vi);
    store_some(wi, d, w + i, rest);
    store_some(mi, d, m + i, rest);
    store_some(vi, d, v + i, rest);
  }
}

double block_squares(const float* x, int64_t n) {
  return sum_in_double<true>(x, n);
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1 {

HWY_EXPORT(adamw_kernel);
HWY_EXPORT(block_squares);

namespace {

constexpr int64_t kAdamGrain = 4096;  // about 4 us

// 1 - b^step in double.
double bias_correction(double b, int64_t step) {
  return b > 0 ? 1.0 - exact_pow(b, static_cast<double>(step)) : 1.0;
}

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

void adamw_update(ThreadPool& threads, Parameter& p, Tensor m, Tensor v, const AdamW& how, float grad_scale) {
  const int64_t n = p.value.count();
  R1_CHECK(how.step >= 1, p.name, ": step ", how.step);
  R1_CHECK(p.grad && p.grad.count() == n && m.count() == n && v.count() == n, p.name, ": value ",
           p.value.shape.str(), ", m ", m.shape.str(), ", v ", v.shape.str());
  const AdamConstants k{.lr = how.lr,
                        .b1 = how.beta1,
                        .b2 = how.beta2,
                        .one_less_b1 = 1.0f - how.beta1,
                        .one_less_b2 = 1.0f - how.beta2,
                        .c1 = static_cast<float>(bias_correction(how.beta1, how.step)),
                        .c2 = static_cast<float>(bias_correction(how.beta2, how.step)),
                        .eps = how.eps,
                        .weight_decay = how.weight_decay,
                        .grad_scale = grad_scale};
  const float* grad = p.grad.f32();
  float* w = p.value.f32();
  float* mp = m.f32();
  float* vp = v.f32();
  threads.parallel_for(n, kAdamGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(adamw_kernel)(k, end - begin, grad + begin, w + begin, mp + begin, vp + begin);
  });
  ++p.version;
}

double gradient_norm(ThreadPool& threads, std::span<Parameter* const> parameters) {
  double sum = 0;
  for (const Parameter* p : parameters) {
    if (p->grad) sum = add_squares(threads, p->grad.f32(), p->grad.count(), sum);
  }
  return std::sqrt(sum);
}

}  // namespace r1
#endif
