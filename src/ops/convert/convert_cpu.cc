// ops/convert/convert_cpu.cc: bf16 <-> f32 on the CPU, by integer lanes: the same bits on every
// instruction set.
#include <cstring>

#include "ops/convert/convert.h"
#include "ops/simd/grain.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/convert/convert_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/simd/bf16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void widen_kernel(const uint16_t* HWY_RESTRICT from, int64_t n, float* HWY_RESTRICT to) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(load_bf16(d, from + i), d, to + i);
  for (; i < n; ++i) to[i] = f32_from_bf16(from[i]);
}

void narrow_kernel(const float* HWY_RESTRICT from, int64_t n, uint16_t* HWY_RESTRICT to) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store_bf16(hn::LoadU(d, from + i), d, to + i);
  for (; i < n; ++i) to[i] = bf16_from_f32(from[i]);
}

void round_kernel(const float* from, int64_t n, float* to) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(rounded_to_bf16(d, hn::LoadU(d, from + i)), d, to + i);
  for (; i < n; ++i) to[i] = f32_from_bf16(bf16_from_f32(from[i]));
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1 {

HWY_EXPORT(widen_kernel);
HWY_EXPORT(narrow_kernel);
HWY_EXPORT(round_kernel);

void widen(const uint16_t* from, int64_t n, float* to) {
  HWY_DYNAMIC_DISPATCH(widen_kernel)(from, n, to);
}

void narrow(const float* from, int64_t n, uint16_t* to) {
  HWY_DYNAMIC_DISPATCH(narrow_kernel)(from, n, to);
}

void widen(ThreadPool& threads, const uint16_t* from, int64_t n, float* to) {
  threads.parallel_for(n, kGrainFloats,
                       [=](int64_t begin, int64_t end) { widen(from + begin, end - begin, to + begin); });
}

void narrow(ThreadPool& threads, const float* from, int64_t n, uint16_t* to) {
  threads.parallel_for(n, kGrainFloats,
                       [=](int64_t begin, int64_t end) { narrow(from + begin, end - begin, to + begin); });
}

void round_to_bf16(ThreadPool& threads, const float* from, int64_t n, float* to) {
  threads.parallel_for(n, kGrainFloats, [=](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(round_kernel)(from + begin, end - begin, to + begin);
  });
}

const float* as_f32(Context& ctx, const Tensor& t) {
  if (t.dtype != DType::bf16) return t.f32();
  float* wide = ctx.arena.array<float>(t.count());
  widen(ctx.threads, t.bf16(), t.count(), wide);
  return wide;
}

Tensor as_f32_tensor(Context& ctx, const Tensor& t) {
  Tensor wide = t;
  wide.data = const_cast<float*>(as_f32(ctx, t));
  wide.dtype = DType::f32;
  return wide;
}

void copy_rows_f32(ThreadPool& threads, const Tensor& table, std::span<const int32_t> rows, float* to) {
  const int64_t N = table.dim(-1);
  threads.parallel_for(static_cast<int64_t>(rows.size()), row_grain(N), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = rows[static_cast<size_t>(i)] * N;
      if (table.dtype == DType::bf16) {
        widen(table.bf16() + at, N, to + i * N);
      } else {
        std::memcpy(to + i * N, table.f32() + at, static_cast<size_t>(N) * sizeof(float));
      }
    }
  });
}

const float* weight_f32(Context& ctx, const Tensor& value) {
  if (value.dtype == DType::bf16 || ctx.activations() == DType::f32) return as_f32(ctx, value);
  float* rounded = ctx.arena.array<float>(value.count());
  round_to_bf16(ctx.threads, value.f32(), value.count(), rounded);
  return rounded;
}

F32Output::F32Output(Context& ctx, const Tensor& y)
    : y_(y), data_(y.dtype == DType::bf16 ? ctx.arena.array<float>(y.count()) : y.f32()) {}

void F32Output::store(Context& ctx) const {
  if (y_.dtype == DType::bf16) narrow(ctx.threads, data_, y_.count(), y_.bf16());
}

}  // namespace r1
#endif
