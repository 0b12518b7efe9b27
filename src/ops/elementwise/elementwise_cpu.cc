// ops/elementwise/elementwise_cpu.cc: sums and slices of rows on the CPU, limited by memory bandwidth.
#include <cstring>

#include "ops/elementwise/elementwise.h"
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

// dx += dy, for y = x + ...
void pass_on(Context& ctx, const Tensor& y, const Tensor& x) {
  if (ctx.tape->share(y, x)) return;
  const Tensor dx = ctx.tape->slot(x).grad;
  add_into(ctx.threads, ctx.tape->grad(y).f32(), dx.count(), dx.f32());
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

void slice_backward(Context& ctx, const Tensor& x, const Tensor& y, int64_t first) {
  const Tensor dy = ctx.tape->grad(y);
  if (!dy) return;
  const GradSlot s = ctx.tape->slot(x);
  if (!s) return;
  const int64_t T = x.rows(), N = x.dim(-1), M = y.dim(-1);
  const Columns columns{dy.f32(), M, s.grad.f32() + first, N, M};
  if (s.accumulate) {
    add_columns(ctx.threads, T, columns);
    return;
  }
  float* dx = s.grad.f32();
  ctx.threads.parallel_for(T, row_grain(N), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* row = dx + t * N;
      zero_floats(row, first);
      copy_floats(row + first, columns.from + t * M, M);
      zero_floats(row + first + M, N - first - M);
    }
  });
}

void gather_backward(Context& ctx, const Tensor& x, const Tensor& y, std::span<const int32_t> indices) {
  const Tensor dy = ctx.tape->grad(y);
  if (!dy) return;
  const GradSlot s = ctx.tape->slot(x);
  if (!s) return;
  float* dx = s.grad.f32();
  if (!s.accumulate) {
    ctx.threads.parallel_for(x.count(), kGrainFloats,
                             [&](int64_t begin, int64_t end) { zero_floats(dx + begin, end - begin); });
  }
  scatter_add_rows(ctx.threads, dy.f32(), indices, x.dim(-1), dx);
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

Tensor add(Context& ctx, const Tensor& a, const Tensor& b) {
  R1_CHECK(a.shape == b.shape, "add ", a.shape.str(), " and ", b.shape.str());
  const Tensor y = ctx.output(a.shape);
  const float* ap = a.f32();
  const float* bp = b.f32();
  float* yp = y.f32();
  ctx.threads.parallel_for(a.count(), kGrainFloats, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(add_kernel)(ap + begin, bp + begin, end - begin, yp + begin);
  });
  if (ctx.tape != nullptr) {
    ctx.tape->record([a, b, y](Context& c) {
      pass_on(c, y, a);
      pass_on(c, y, b);
    });
  }
  return y;
}

Tensor slice_columns(Context& ctx, const Tensor& x, int64_t begin, int64_t end) {
  const int64_t N = x.dim(-1), T = x.rows(), M = end - begin;
  R1_CHECK(0 <= begin && begin <= end && end <= N, "columns [", begin, ", ", end, ") of ", x.shape.str());
  const Tensor y = ctx.output({T, M}, x.dtype);
  if (x.dtype == DType::bf16) {
    copy_block(ctx.threads, T, M, x.bf16() + begin, N, y.bf16(), M);
  } else {
    copy_block(ctx.threads, T, M, x.f32() + begin, N, y.f32(), M);
  }
  if (ctx.tape != nullptr) {
    ctx.tape->record([x, y, begin](Context& c) { slice_backward(c, x, y, begin); });
  }
  return y;
}

Tensor gather_rows(Context& ctx, const Tensor& x, std::span<const int32_t> indices) {
  const int64_t N = x.dim(-1), T = x.rows(), R = static_cast<int64_t>(indices.size());
  for (const int32_t i : indices) R1_CHECK(i >= 0 && i < T, "row ", i, " of ", x.shape.str());
  const Tensor y = ctx.output({R, N}, x.dtype);
  const char* xp = static_cast<const char*>(x.data);
  char* yp = static_cast<char*>(y.data);
  const size_t row = static_cast<size_t>(N) * size_of(x.dtype);
  ctx.threads.parallel_for(R, row_grain(N), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::memcpy(yp + static_cast<size_t>(r) * row,
                  xp + static_cast<size_t>(indices[static_cast<size_t>(r)]) * row, row);
    }
  });
  if (ctx.tape != nullptr) {
    ctx.tape->record([x, y, indices](Context& c) { gather_backward(c, x, y, indices); });
  }
  return y;
}

}  // namespace r1
#endif
