// ops/elementwise/elementwise_cuda.cu: sums and slices of rows on a CUDA device, limited by memory bandwidth.
#include <cuda_runtime.h>

#include <algorithm>

#include "ops/elementwise/elementwise_backend.h"
#include "ops/elementwise/elementwise_cuda.h"
#include "ops/simd/upload_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;

// y[i] = a[i] + b[i]. y may be a or b.
__global__ void __launch_bounds__(kThreads) add_floats(const float* a, const float* b, int64_t n, float* y) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
#pragma unroll 4
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += step)
    y[i] = __fadd_rn(a[i], b[i]);
}

// Row t of y [T, M] = columns [first, first + M) of row t of x [T, N].
template <class V>
__global__ void __launch_bounds__(kThreads)
    copy_columns(const V* x, int64_t N, int64_t first, int64_t M, V* y) {
  const int64_t t = blockIdx.x;
  const V* from = x + t * N + first;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < M; i += kThreads) y[t * M + i] = from[i];
}

// Columns [first, first + M) of row t of y [T, N] = row t of x [T, M].
template <class V>
__global__ void __launch_bounds__(kThreads)
    place_columns_of(const V* x, int64_t M, int64_t first, int64_t N, V* y) {
  const int64_t t = blockIdx.x;
  V* to = y + t * N + first;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < M; i += kThreads) to[i] = x[t * M + i];
}

// y[r] = table[indices[r]], of rows of n floats or vectors of four.
template <class Vector>
__global__ void __launch_bounds__(kThreads)
    copy_rows_of(const Vector* table, const int32_t* indices, int64_t n, Vector* y) {
  const int64_t r = blockIdx.x;
  const Vector* from = table + indices[r] * n;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < n; i += kThreads) y[r * n + i] = from[i];
}

bool aligned(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % sizeof(float4) == 0;
}

// The backward of a slice: columns [first, first + M) of dx [T, N] become dy, the others 0; or dy is added.
template <bool kAdd>
__global__ void __launch_bounds__(kThreads)
    put_columns(const float* dy, int64_t M, int64_t first, int64_t N, float* dx) {
  const int64_t t = blockIdx.x;
  float* to = dx + t * N;
  const float* from = dy + t * M;
  if constexpr (kAdd) {
    for (int64_t i = threadIdx.x; i < M; i += kThreads) to[first + i] = __fadd_rn(to[first + i], from[i]);
  } else {
    for (int64_t i = threadIdx.x; i < N; i += kThreads)
      to[i] = i >= first && i < first + M ? from[i - first] : 0.0f;
  }
}

cudaStream_t stream_of(const Context& ctx) {
  return static_cast<cudaStream_t>(ctx.stream);
}

}  // namespace

void gather_rows_f32(const float* table, const int32_t* indices, int64_t R, int64_t N, float* y,
                     void* stream) {
  if (R == 0 || N == 0) return;
  const auto s = static_cast<cudaStream_t>(stream);
  const auto blocks = static_cast<unsigned>(R);
  if (N % 4 == 0 && aligned(table) && aligned(y)) {
    copy_rows_of<<<blocks, kThreads, 0, s>>>(reinterpret_cast<const float4*>(table), indices, N / 4,
                                             reinterpret_cast<float4*>(y));
  } else {
    copy_rows_of<<<blocks, kThreads, 0, s>>>(table, indices, N, y);
  }
  check_launch("gather_rows");
}

void add_values(Context& ctx, const Add& call) {
  const int64_t n = call.y.count();
  if (ctx.measuring || n == 0) return;
  const int64_t blocks = std::min<int64_t>((n + kThreads - 1) / kThreads, int64_t{multiprocessors()} * 32);
  add_floats<<<static_cast<unsigned>(blocks), kThreads, 0, stream_of(ctx)>>>(call.a.f32(), call.b.f32(), n,
                                                                             call.y.f32());
  check_launch("add");
}

void slice_forward(Context& ctx, const SliceColumns& call) {
  if (ctx.measuring || call.y.count() == 0) return;
  const auto blocks = static_cast<unsigned>(call.x.rows());
  const int64_t N = call.x.dim(-1), M = call.y.dim(-1);
  if (call.x.dtype == DType::bf16) {
    copy_columns<<<blocks, kThreads, 0, stream_of(ctx)>>>(call.x.bf16(), N, call.first, M, call.y.bf16());
  } else {
    copy_columns<<<blocks, kThreads, 0, stream_of(ctx)>>>(call.x.f32(), N, call.first, M, call.y.f32());
  }
  check_launch("slice_columns");
}

void place_columns(Context& ctx, const PlaceColumns& call) {
  if (ctx.measuring || call.x.count() == 0) return;
  const auto blocks = static_cast<unsigned>(call.x.rows());
  const int64_t M = call.x.dim(-1), N = call.y.dim(-1);
  if (call.x.dtype == DType::bf16) {
    place_columns_of<<<blocks, kThreads, 0, stream_of(ctx)>>>(call.x.bf16(), M, call.first, N, call.y.bf16());
  } else {
    place_columns_of<<<blocks, kThreads, 0, stream_of(ctx)>>>(call.x.f32(), M, call.first, N, call.y.f32());
  }
  check_launch("join_columns");
}

void slice_backward(Context& ctx, const SliceBackward& call) {
  const Tensor& dx = call.dx.grad;
  if (ctx.measuring || dx.count() == 0) return;
  const auto kernel = call.dx.accumulate ? put_columns<true> : put_columns<false>;
  kernel<<<static_cast<unsigned>(dx.rows()), kThreads, 0, stream_of(ctx)>>>(call.dy.f32(), call.dy.dim(-1),
                                                                            call.first, dx.dim(-1), dx.f32());
  check_launch("slice_columns_backward");
}

void gather_forward(Context& ctx, const GatherRows& call) {
  const OpScope scope(ctx);
  const int64_t R = std::ssize(call.indices), N = call.x.dim(-1);
  const int32_t* indices = on_device(ctx, call.indices);
  if (ctx.measuring || call.y.count() == 0) return;
  if (call.x.dtype == DType::bf16) {
    copy_rows_of<<<static_cast<unsigned>(R), kThreads, 0, stream_of(ctx)>>>(call.x.bf16(), indices, N,
                                                                            call.y.bf16());
    check_launch("gather_rows");
  } else {
    gather_rows_f32(call.x.f32(), indices, R, N, call.y.f32(), ctx.stream);
  }
}

}  // namespace r1::cuda
