// ops/convert/convert_cpu.cc: bf16 <-> f32 on the CPU, by integer lanes: the same bits on every
// instruction set.
#include <cstring>

#include "ops/convert/convert.h"
#include "ops/convert/convert_backend.h"
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

namespace cpu {

void widen_values(Context& ctx, const Widen& call) {
  widen(ctx.threads, call.from, call.n, call.to);
}

void narrow_values(Context& ctx, const Narrow& call) {
  narrow(ctx.threads, call.from, call.n, call.to);
}

void round_values(Context& ctx, const RoundToBf16& call) {
  round_to_bf16(ctx.threads, call.from, call.n, call.to);
}

}  // namespace cpu
}  // namespace r1
#endif
