// ops/elementwise/elementwise_cpu.cc: sums and slices of rows on the CPU, limited by memory bandwidth.
#include <cstddef>
#include <cstring>

#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/elementwise_backend.h"
#include "ops/simd/grain.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/elementwise/elementwise_cpu.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
#include "ops/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace r1 {
namespace HWY_NAMESPACE {

void add_kernel(const float* a, const float* b, int64_t n, float* y) {
  map2(a, b, y, n, [](auto, auto u, auto v) R1_LAMBDA { return hwy::HWY_NAMESPACE::Add(u, v); });
}

// Columns [begin, end) of rows of N floats.
void scatter_add_columns(const float* from, const int32_t* indices, int64_t R, int64_t N, int64_t begin,
                         int64_t end, float* into) {
  for (int64_t r = 0; r < R; ++r) {
    float* to = into + indices[r] * N + begin;
    add_kernel(to, from + r * N + begin, end - begin, to);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace r1
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace r1 {

HWY_EXPORT(add_kernel);
HWY_EXPORT(scatter_add_columns);

namespace {

void copy_floats(float* to, const float* from, int64_t n) {
  std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
}
void zero_floats(float* to, int64_t n) {
  std::memset(to, 0, static_cast<size_t>(n) * sizeof(float));
}

template <class T>
void copy_block(ThreadPool& threads, int64_t rows, int64_t count, const T* from, int64_t from_width, T* to,
                int64_t to_width) {
  threads.parallel_for(rows, row_grain(count), [=](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      std::memcpy(to + t * to_width, from + t * from_width, static_cast<size_t>(count) * sizeof(T));
    }
  });
}

}  // namespace

void copy_columns(ThreadPool& threads, int64_t T, const Columns& c) {
  copy_block(threads, T, c.count, c.from, c.from_width, c.to, c.to_width);
}

void add_columns(ThreadPool& threads, int64_t T, const Columns& c) {
  threads.parallel_for(T, row_grain(c.count), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* to = c.to + t * c.to_width;
      HWY_DYNAMIC_DISPATCH(add_kernel)(to, c.from + t * c.from_width, c.count, to);
    }
  });
}

void add_into(ThreadPool& threads, const float* from, int64_t n, float* into) {
  threads.parallel_for(n, kGrainFloats, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(add_kernel)(into + begin, from + begin, end - begin, into + begin);
  });
}

void scatter_add_rows(ThreadPool& threads, const float* from, std::span<const int32_t> indices, int64_t N,
                      float* into) {
  const int64_t R = static_cast<int64_t>(indices.size());
  threads.parallel_for(N, column_grain(threads, N), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(scatter_add_columns)(from, indices.data(), R, N, begin, end, into);
  });
}

namespace cpu {

void add_values(Context& ctx, const Add& call) {
  const float* a = call.a.f32();
  const float* b = call.b.f32();
  float* y = call.y.f32();
  ctx.threads.parallel_for(call.y.count(), kGrainFloats, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(add_kernel)(a + begin, b + begin, end - begin, y + begin);
  });
}

void slice_forward(Context& ctx, const SliceColumns& call) {
  const int64_t T = call.x.rows(), N = call.x.dim(-1), M = call.y.dim(-1);
  if (call.x.dtype == DType::bf16) {
    copy_block(ctx.threads, T, M, call.x.bf16() + call.first, N, call.y.bf16(), M);
  } else {
    copy_block(ctx.threads, T, M, call.x.f32() + call.first, N, call.y.f32(), M);
  }
}

void place_columns(Context& ctx, const PlaceColumns& call) {
  const int64_t T = call.x.rows(), M = call.x.dim(-1), N = call.y.dim(-1);
  if (call.x.dtype == DType::bf16) {
    copy_block(ctx.threads, T, M, call.x.bf16(), M, call.y.bf16() + call.first, N);
  } else {
    copy_block(ctx.threads, T, M, call.x.f32(), M, call.y.f32() + call.first, N);
  }
}

void slice_backward(Context& ctx, const SliceBackward& call) {
  const int64_t first = call.first;
  const Tensor& grad = call.dx.grad;
  const int64_t T = grad.rows(), N = grad.dim(-1), M = call.dy.dim(-1);
  const float* dy = call.dy.f32();
  float* dx = grad.f32();
  if (call.dx.accumulate) {
    add_columns(ctx.threads, T, {.from = dy, .from_width = M, .to = dx + first, .to_width = N, .count = M});
    return;
  }
  ctx.threads.parallel_for(T, row_grain(N), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* row = dx + t * N;
      zero_floats(row, first);
      copy_floats(row + first, dy + t * M, M);
      zero_floats(row + first + M, N - first - M);
    }
  });
}

void gather_forward(Context& ctx, const GatherRows& call) {
  const auto* x = static_cast<const std::byte*>(call.x.data);
  auto* y = static_cast<std::byte*>(call.y.data);
  const int64_t N = call.x.dim(-1);
  const size_t row = static_cast<size_t>(N) * size_of(call.x.dtype);
  ctx.threads.parallel_for(std::ssize(call.indices), row_grain(N), [&](int64_t begin, int64_t end) {
    for (auto r = static_cast<size_t>(begin); r < static_cast<size_t>(end); ++r)
      std::memcpy(y + r * row, x + static_cast<size_t>(call.indices[r]) * row, row);
  });
}

}  // namespace cpu
}  // namespace r1
#endif
