// ops/norm/norm_cpu.cc: RMSNorm on the CPU.
//
// Backward, with g = dy w and c = g . x (sixteen lanes, like the forward's sum):
//
//   dx = rstd * fma(-x, k, g),   k = (rstd * rstd) * (c / D)
//   dw = fma(dy, x * rstd, dw)   for t in order
//
// dx is cut over rows, dw over columns: each column's sum is one chain.
#include "ops/convert/convert.h"
#include "ops/norm/norm_backend.h"
#include "ops/simd/grain.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/norm/norm_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1::cpu {
namespace HWY_NAMESPACE {
using namespace r1::HWY_NAMESPACE;
namespace hn = hwy::HWY_NAMESPACE;

// Rows [begin, end). If rstd [T] is given, it is written.
void norm_rows(const float* x, const float* w, int64_t begin, int64_t end, int64_t D, float eps, float* y,
               float* rstd) {
  for (int64_t t = begin; t < end; ++t) {
    const float* xt = x + t * D;
    const Lanes16 squares = fold(Lanes16::set(0.0f), xt, D,
                                 [](auto, auto lane, auto v) R1_LAMBDA { return hn::MulAdd(v, v, lane); });
    const float mean = tree_sum(squares) / static_cast<float>(D);
    const float r = 1.0f / std::sqrt(mean + eps);
    if (rstd != nullptr) rstd[t] = r;
    map2(xt, w, y + t * D, D,
         [r](auto d, auto v, auto weight) R1_LAMBDA { return hn::Mul(hn::Mul(v, hn::Set(d, r)), weight); });
  }
}

template <bool kAdd>
void norm_dx_rows(const float* x, const float* w, const float* dy, const float* rstd, int64_t begin,
                  int64_t end, int64_t D, float* dx) {
  for (int64_t t = begin; t < end; ++t) {
    const float* xt = x + t * D;
    const float* dyt = dy + t * D;
    const Lanes16 dots = fold3(Lanes16::set(0.0f), xt, dyt, w, D,
                               [](auto, auto lane, auto a, auto b, auto c)
                                   R1_LAMBDA { return hn::MulAdd(hn::Mul(b, c), a, lane); });
    const float r = rstd[t];
    const float k = (r * r) * (tree_sum(dots) / static_cast<float>(D));
    const auto value = [r, k](auto d, auto a, auto b, auto c) R1_LAMBDA {
      return hn::Mul(hn::Set(d, r), hn::NegMulAdd(a, hn::Set(d, k), hn::Mul(b, c)));
    };
    if constexpr (kAdd) {
      map4(xt, dyt, w, dx + t * D, dx + t * D, D,
           [&value](auto d, auto a, auto b, auto c, auto held)
               R1_LAMBDA { return hn::Add(held, value(d, a, b, c)); });
    } else {
      map3(xt, dyt, w, dx + t * D, D, value);
    }
  }
}
void norm_dx_rows_assign(const float* x, const float* w, const float* dy, const float* rstd, int64_t begin,
                         int64_t end, int64_t D, float* dx) {
  norm_dx_rows<false>(x, w, dy, rstd, begin, end, D, dx);
}
void norm_dx_rows_add(const float* x, const float* w, const float* dy, const float* rstd, int64_t begin,
                      int64_t end, int64_t D, float* dx) {
  norm_dx_rows<true>(x, w, dy, rstd, begin, end, D, dx);
}

// Columns [begin, end) of dw, four rows at a time: dw is loaded and stored once per four steps of its chain.
void norm_dw_columns(const float* x, const float* dy, const float* rstd, int64_t T, int64_t D, int64_t begin,
                     int64_t end, float* dw) {
  const int64_t n = end - begin;
  int64_t t = 0;
  for (; t + 4 <= T; t += 4) {
    const float* xt = x + t * D + begin;
    const float* dyt = dy + t * D + begin;
    const hn::ScalableTag<float> d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    const auto r0 = hn::Set(d, rstd[t]), r1 = hn::Set(d, rstd[t + 1]);
    const auto r2 = hn::Set(d, rstd[t + 2]), r3 = hn::Set(d, rstd[t + 3]);
    for (int64_t i = 0; i < n; i += lanes) {
      const size_t rest = static_cast<size_t>(n - i);
      const bool whole = n - i >= lanes;
      const auto load = [whole, rest, d](const float* p)
                            R1_LAMBDA { return whole ? hn::LoadU(d, p) : load_some(d, p, rest); };
      auto sum = load(dw + begin + i);
      sum = hn::MulAdd(load(dyt + i), hn::Mul(load(xt + i), r0), sum);
      sum = hn::MulAdd(load(dyt + D + i), hn::Mul(load(xt + D + i), r1), sum);
      sum = hn::MulAdd(load(dyt + 2 * D + i), hn::Mul(load(xt + 2 * D + i), r2), sum);
      sum = hn::MulAdd(load(dyt + 3 * D + i), hn::Mul(load(xt + 3 * D + i), r3), sum);
      if (whole) {
        hn::StoreU(sum, d, dw + begin + i);
      } else {
        store_some(sum, d, dw + begin + i, rest);
      }
    }
  }
  for (; t < T; ++t) {
    const float r = rstd[t];
    map3(x + t * D + begin, dy + t * D + begin, dw + begin, dw + begin, n,
         [r](auto d, auto a, auto b, auto sum)
             R1_LAMBDA { return hn::MulAdd(b, hn::Mul(a, hn::Set(d, r)), sum); });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace r1::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1::cpu {

HWY_EXPORT(norm_rows);
HWY_EXPORT(norm_dx_rows_assign);
HWY_EXPORT(norm_dx_rows_add);
HWY_EXPORT(norm_dw_columns);

void norm_forward(Context& ctx, const NormForward& call) {
  const int64_t D = call.x.dim(-1), T = call.x.rows();
  const OpScope scope(ctx);
  const F32Output out(ctx, call.y);
  const float* x = as_f32(ctx, call.x);
  const float* w = weight_f32(ctx, call.w->value);
  float* y = out.data();
  ctx.threads.parallel_for(T, row_grain(D), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(norm_rows)(x, w, begin, end, D, call.eps, y, call.rstd);
  });
  out.store(ctx);
}

void norm_backward(Context& ctx, const NormBackward& call) {
  const int64_t D = call.x.dim(-1), T = call.x.rows();
  const OpScope scope(ctx);
  const float* x = as_f32(ctx, call.x);
  const float* dy = call.dy.f32();
  const float* w = weight_f32(ctx, call.w->value);
  if (call.dx) {
    float* dx = call.dx.grad.f32();
    const auto rows = call.dx.accumulate ? HWY_DYNAMIC_DISPATCH(norm_dx_rows_add)
                                         : HWY_DYNAMIC_DISPATCH(norm_dx_rows_assign);
    ctx.threads.parallel_for(
        T, row_grain(D), [&](int64_t begin, int64_t end) { rows(x, w, dy, call.rstd, begin, end, D, dx); });
  }
  if (call.w->grad) {
    ctx.tape->await_turn();
    float* dw = call.w->grad.f32();
    ctx.threads.parallel_for(D, column_grain(ctx.threads, D), [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(norm_dw_columns)(x, dy, call.rstd, T, D, begin, end, dw);
    });
  }
}

}  // namespace r1::cpu
#endif
