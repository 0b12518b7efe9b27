// ops/rope/rope_cpu.cc: rotary position embedding on the CPU.
//
// The backward is the same turn with the sines negated (exactly), so one kernel serves both. Pairs are
// independent, so no bit depends on the vector width.
#include "ops/convert/convert.h"
#include "ops/rope/rope.h"
#include "ops/rope/rope_backend.h"
#include "ops/simd/grain.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/rope/rope_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/simd/lanes-inl.h"

namespace r1 {
#ifndef R1_OPS_ROPE_JOB
#define R1_OPS_ROPE_JOB
namespace {
struct RopeJob {
  const float* x;
  const int32_t* positions;
  const RopeTable* table;
  int64_t H, K;  // the last `rotary width` of a head's K components turn
  int64_t x_head, y_head;
  RopeStyle style;
  float sign;  // multiplies the sines: -1 turns back
  bool add;    // add to y instead of assigning
  float* y;
};
}  // namespace
#endif
}  // namespace r1

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// y0 = x0 c - x1 s, y1 = x1 c + x0 s, where s already has its sign.
template <class V>
HWY_INLINE void turn(V x0, V x1, V c, V s, V* y0, V* y1) {
  *y0 = hn::MulAdd(x0, c, hn::Neg(hn::Mul(x1, s)));
  *y1 = hn::MulAdd(x1, c, hn::Mul(x0, s));
}

template <bool kAdd>
HWY_INLINE void turn_half(const float* x, const float* cosines, const float* sines, float sign, int64_t pairs,
                          float* y) {
  const hn::CappedTag<float, 8> d;
  using V = hn::VFromD<decltype(d)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const V flip = hn::Set(d, sign);
  for (int64_t i = 0; i < pairs; i += lanes) {
    const bool whole = i + lanes <= pairs;
    const size_t rest = static_cast<size_t>(pairs - i);
    const auto load = [d, whole, rest](const float* p)
                          R1_LAMBDA { return whole ? hn::LoadU(d, p) : load_some(d, p, rest); };
    V y0, y1;
    turn(load(x + i), load(x + pairs + i), load(cosines + i), hn::Mul(load(sines + i), flip), &y0, &y1);
    if constexpr (kAdd) {
      y0 = hn::Add(load(y + i), y0);
      y1 = hn::Add(load(y + pairs + i), y1);
    }
    if (whole) {
      hn::StoreU(y0, d, y + i);
      hn::StoreU(y1, d, y + pairs + i);
    } else {
      store_some(y0, d, y + i, rest);
      store_some(y1, d, y + pairs + i, rest);
    }
  }
}

template <bool kAdd>
HWY_INLINE void turn_interleaved(const float* x, const float* cosines, const float* sines, float sign,
                                 int64_t pairs, float* y) {
  const hn::CappedTag<float, 8> d;
  using V = hn::VFromD<decltype(d)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const V flip = hn::Set(d, sign);
  int64_t i = 0;
  for (; i + lanes <= pairs; i += lanes) {
    V x0, x1, y0, y1;
    hn::LoadInterleaved2(d, x + 2 * i, x0, x1);
    turn(x0, x1, hn::LoadU(d, cosines + i), hn::Mul(hn::LoadU(d, sines + i), flip), &y0, &y1);
    if constexpr (kAdd) {
      V held0, held1;
      hn::LoadInterleaved2(d, y + 2 * i, held0, held1);
      y0 = hn::Add(held0, y0);
      y1 = hn::Add(held1, y1);
    }
    hn::StoreInterleaved2(y0, y1, d, y + 2 * i);
  }
  for (; i < pairs; ++i) {
    const float x0 = x[2 * i], x1 = x[2 * i + 1], c = cosines[i], s = sines[i] * sign;
    const float y0 = std::fma(x0, c, -(x1 * s)), y1 = std::fma(x1, c, x0 * s);
    y[2 * i] = kAdd ? y[2 * i] + y0 : y0;
    y[2 * i + 1] = kAdd ? y[2 * i + 1] + y1 : y1;
  }
}

template <bool kAdd>
HWY_INLINE void rope_rows_impl(const RopeJob& job, int64_t begin, int64_t end) {
  const int64_t pairs = job.table->width() / 2, still = job.K - 2 * pairs;
  for (int64_t t = begin; t < end; ++t) {
    const float* cosines = job.table->cosines(job.positions[t]);
    const float* sines = job.table->sines(job.positions[t]);
    for (int64_t h = 0; h < job.H; ++h) {
      const float* x = job.x + (t * job.H + h) * job.x_head;
      float* y = job.y + (t * job.H + h) * job.y_head;
      for (int64_t k = 0; k < still; ++k) y[k] = kAdd ? y[k] + x[k] : x[k];
      if (job.style == RopeStyle::half) {
        turn_half<kAdd>(x + still, cosines, sines, job.sign, pairs, y + still);
      } else {
        turn_interleaved<kAdd>(x + still, cosines, sines, job.sign, pairs, y + still);
      }
    }
  }
}

void rope_rows(const RopeJob& job, int64_t begin, int64_t end) {
  if (job.add) {
    rope_rows_impl<true>(job, begin, end);
  } else {
    rope_rows_impl<false>(job, begin, end);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1 {

HWY_EXPORT(rope_rows);

namespace {
void run_job(ThreadPool& threads, int64_t T, const RopeJob& job) {
  threads.parallel_for(T, row_grain(job.H * job.K), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(rope_rows)(job, begin, end);
  });
}
}  // namespace

void rope_heads(ThreadPool& threads, const Rotary& rotary, const RopeHeads& heads) {
  rotary.table->check(rotary.positions);
  run_job(threads, static_cast<int64_t>(rotary.positions.size()),
          {.x = heads.x,
           .positions = rotary.positions.data(),
           .table = rotary.table,
           .H = heads.H,
           .K = rotary.width(),
           .x_head = heads.x_head,
           .y_head = heads.y_head,
           .style = rotary.style,
           .sign = heads.back ? -1.0f : 1.0f,
           .add = heads.add,
           .y = heads.y});
}

namespace cpu {

void rope_forward(Context& ctx, const RopeForward& call) {
  const OpScope scope(ctx);
  const F32Output out(ctx, call.y);
  const int64_t K = call.x.dim(2);
  run_job(ctx.threads, call.x.dim(0),
          {.x = as_f32(ctx, call.x),
           .positions = call.rotary.positions.data(),
           .table = call.rotary.table,
           .H = call.x.dim(1),
           .K = K,
           .x_head = K,
           .y_head = K,
           .style = call.rotary.style,
           .sign = 1.0f,
           .add = false,
           .y = out.data()});
  out.store(ctx);
}

void rope_backward(Context& ctx, const RopeBackward& call) {
  const int64_t K = call.dy.dim(2);
  run_job(ctx.threads, call.dy.dim(0),
          {.x = call.dy.f32(),
           .positions = call.rotary.positions.data(),
           .table = call.rotary.table,
           .H = call.dy.dim(1),
           .K = K,
           .x_head = K,
           .y_head = K,
           .style = call.rotary.style,
           .sign = -1.0f,
           .add = call.dx.accumulate,
           .y = call.dx.grad.f32()});
}

}  // namespace cpu
}  // namespace r1
#endif
