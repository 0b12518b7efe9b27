// ops/norm/norm_cuda.cu: RMSNorm on a CUDA device. The formulas, in the order of norm_cpu.cc:
//
//   rstd = 1 / sqrt(sum / D + eps), sums in sixteen lanes (ops/simd/lanes_cuda.cuh)
//   dx   = rstd * fma(-x, k, g),   g = dy w,   k = (rstd * rstd) * (c / D),   c = g . x in sixteen lanes
//   dw   = fma(dy, x * rstd, dw)   for t in order
//
// These are the kernels for few rows, and the backward of numerics that sum over tokens one by one; norm_many_cuda.h has
// the others. A short row belongs to a half-warp. A long one belongs to a block, which copies it to shared memory so that
// many loads are in flight; the sums are sixteen chains either way.
#include <cuda_runtime.h>

#include "ops/convert/convert.h"
#include "ops/convert/convert_cuda.h"
#include "ops/norm/norm_backend.h"
#include "ops/norm/norm_cuda.h"
#include "ops/norm/norm_many_cuda.h"
#include "ops/norm/norm_row_cuda.cuh"
#include "ops/simd/bf16_cuda.cuh"
#include "ops/simd/column_blocks_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kShortRow = 256;
constexpr int kStaged =
    8192;  // floats of a row in shared memory: 32 KiB; the rest of a longer row is read twice

// Threads of one row: a half-warp or the block.
template <bool kLong>
struct Row {
  static constexpr int kCount = kLong ? kThreads : kLanes;
  int64_t t;
  int thread;
  __device__ Row()
      : t(kLong ? blockIdx.x : static_cast<int64_t>(blockIdx.x) * (kThreads / kLanes) + threadIdx.x / kLanes),
        thread(threadIdx.x % kCount) {}
};

// In a long row, the first half-warp sums (its warp's other half sums the same) and tells the block.
template <bool kLong>
__device__ __forceinline__ float shared_sum(float lane_sum, float* told) {
  if constexpr (!kLong) return lane_sum;
  if (threadIdx.x == 0) *told = lane_sum;
  __syncthreads();
  return *told;
}

// The elements of a row of x, or of the sum of x and a term, which is kept.
template <class X>
struct PlainRow {
  const X* x;
  __device__ PlainRow at(int64_t t, int64_t D) const { return {x + t * D}; }
  __device__ float first(int64_t i) const { return to_f32(x[i]); }
  __device__ float again(int64_t i) const { return to_f32(x[i]); }
};
struct SumRow {
  const float* x;
  const float* term;
  float* sum;  // may be x
  __device__ SumRow at(int64_t t, int64_t D) const { return {x + t * D, term + t * D, sum + t * D}; }
  __device__ float first(int64_t i) const { return sum[i] = __fadd_rn(x[i], term[i]); }
  __device__ float again(int64_t i) const { return sum[i]; }  // the same thread reads its own sums
};

// Y: f32 or bf16. If it is bf16, so is the weight that the forward sees.
template <bool kLong, class X, class Y>
__global__ void __launch_bounds__(kThreads)
    norm_rows(X x, const float* w, int64_t T, int64_t D, float eps, Y* y, float* rstd) {
  __shared__ float staged[kLong ? kStaged : 1];
  __shared__ float told;
  let_next_start();
  const Row<kLong> row;
  // A block's first weights are there when the row arrives: kernels that run early may read weights at once.
  constexpr int kHeld = kLong ? 6 : 0;
  float held[kHeld + 1];
#pragma unroll
  for (int n = 0; n < kHeld; ++n)
    held[n] = row.thread + n * kThreads < D ? w[row.thread + n * kThreads] : 0.0f;
  await_previous();
  const int64_t t = row.t < T ? row.t : T - 1;  // whole warps run: lanes exchange sums
  const X from = x.at(t, D);
  float lane = 0.0f;
  const auto square = [](float sum, float v) { return __fmaf_rn(v, v, sum); };
  if constexpr (kLong) {
    for (int64_t begin = 0; begin < D; begin += kStaged) {
      const int64_t n = D - begin < kStaged ? D - begin : kStaged;
      if (begin > 0) __syncthreads();
#pragma unroll 8
      for (int64_t i = threadIdx.x; i < n; i += kThreads) staged[i] = from.first(begin + i);
      __syncthreads();
      if (threadIdx.x < 32)
        lane = fold<16>(
            lane, n, [&](int64_t i) { return staged[i]; }, square);
    }
  } else {
    const bool there = row.t < T;
    lane = fold<4>(
        lane, D, [&](int64_t i) { return there ? from.first(i) : 0.0f; }, square);
  }
  const float r = rstd_of(shared_sum<kLong>(tree_sum(lane), &told), D, eps);
  if (row.t >= T) return;
  if (rstd != nullptr && row.thread == 0) rstd[t] = r;
  const bool kept = kLong && D <= kStaged;
  Y* to = y + t * D;
  const auto put = [&](int64_t i, float weight) {
    put_f32(to + i, normed<Y>(kept ? staged[i] : from.again(i), r, weight));
  };
#pragma unroll
  for (int n = 0; n < kHeld; ++n) {
    if (row.thread + n * kThreads < D) put(row.thread + n * kThreads, held[n]);
  }
#pragma unroll 4
  for (int64_t i = row.thread + kHeld * kThreads; i < D; i += Row<kLong>::kCount) put(i, w[i]);
}

struct Product {  // of one element: x and g = dy w
  float x, g;
};

template <bool kLong, bool kAdd>
__global__ void __launch_bounds__(kThreads) norm_dx_rows(NormRows in, const float* w, float* dx) {
  constexpr int kPairs = kStaged / 2;
  __shared__ Product staged[kLong ? kPairs : 1];
  __shared__ float told;
  const Row<kLong> row;
  const int64_t t = row.t < in.T ? row.t : in.T - 1, D = in.D;
  const float *x = in.x + t * D, *dy = in.dy + t * D;
  const auto product = [&](int64_t i) { return Product{x[i], __fmul_rn(dy[i], w[i])}; };
  const auto step = [](float sum, Product p) { return __fmaf_rn(p.g, p.x, sum); };
  float lane = 0.0f;
  if constexpr (kLong) {
    for (int64_t begin = 0; begin < D; begin += kPairs) {
      const int64_t n = D - begin < kPairs ? D - begin : kPairs;
      if (begin > 0) __syncthreads();
#pragma unroll 4
      for (int64_t i = threadIdx.x; i < n; i += kThreads) staged[i] = product(begin + i);
      __syncthreads();
      if (threadIdx.x < 32)
        lane = fold<16>(
            lane, n, [&](int64_t i) { return staged[i]; }, step);
    }
  } else {
    lane = fold<4>(lane, D, product, step);
  }
  const float sum = shared_sum<kLong>(tree_sum(lane), &told);
  if (row.t >= in.T) return;
  const float r = in.rstd[t];
  const float k = __fmul_rn(__fmul_rn(r, r), __fdiv_rn(sum, static_cast<float>(D)));
  const bool kept = kLong && D <= kPairs;
  float* to = dx + t * D;
#pragma unroll 4
  for (int64_t i = row.thread; i < D; i += Row<kLong>::kCount) {
    const Product p = kept ? staged[i] : product(i);
    const float value = __fmul_rn(r, __fmaf_rn(-p.x, k, p.g));
    to[i] = kAdd ? __fadd_rn(to[i], value) : value;
  }
}

unsigned blocks_of(int64_t T, bool long_rows) {
  constexpr int64_t kRows = kThreads / kLanes;
  return static_cast<unsigned>(long_rows ? T : (T + kRows - 1) / kRows);
}

}  // namespace

namespace {

template <class X, class Y>
void run_norm(const X& x, const float* w, int64_t T, int64_t D, float eps, Y* y, float* rstd, void* stream,
              bool early = false) {
  if (T == 0) return;
  const bool long_rows = D > kShortRow;
  const auto kernel = long_rows ? norm_rows<true, X, Y> : norm_rows<false, X, Y>;
  launch_early(early, "rms_norm", kernel, blocks_of(T, long_rows), kThreads, 0, stream, x, w, T, D, eps, y,
               rstd);
}

}  // namespace

void rms_norm(const float* x, const float* w, int64_t T, int64_t D, float eps, float* y, float* rstd,
              void* stream) {
  run_norm(PlainRow<float>{x}, w, T, D, eps, y, rstd, stream);
}

void rms_norm_dx(const NormRows& rows, const float* w, bool accumulate, float* dx, void* stream) {
  if (rows.T == 0) return;
  const bool long_rows = rows.D > kShortRow;
  const auto kernel = long_rows ? (accumulate ? norm_dx_rows<true, true> : norm_dx_rows<true, false>)
                                : (accumulate ? norm_dx_rows<false, true> : norm_dx_rows<false, false>);
  kernel<<<blocks_of(rows.T, long_rows), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(rows, w, dx);
  check_launch("rms_norm_dx");
}

namespace {
struct AddWeightGradient {
  __device__ float operator()(float sum, float x, float dy, float rstd) const {
    return __fmaf_rn(dy, __fmul_rn(x, rstd), sum);
  }
};
}  // namespace

void rms_norm_dw(const NormRows& rows, float* dw, void* stream) {
  run_column_chains<true, true>("rms_norm_dw", {rows.x, rows.dy, rows.rstd}, rows.T, rows.D, dw,
                                AddWeightGradient(), stream);
}

void norm_forward(Context& ctx, const NormForward& call) {
  if (ctx.measuring) return;
  const int64_t T = call.x.rows(), D = call.x.dim(-1);
  const float* w = call.w->value.f32();
  const bool launched_early = launches_early(ctx);
  if (!launched_early && norm_many_rows({.x = call.x.data,
                                         .x_bf16 = call.x.dtype == DType::bf16,
                                         .term = call.term ? call.term.f32() : nullptr,
                                         .sum = call.term ? call.sum.f32() : nullptr,
                                         .w = w,
                                         .T = T,
                                         .D = D,
                                         .eps = call.eps,
                                         .y = call.y.data,
                                         .y_bf16 = call.y.dtype == DType::bf16,
                                         .rstd = call.rstd},
                                        ctx.stream))
    return;
  const auto run = [&](const auto& x) {
    if (call.y.dtype == DType::f32)
      return run_norm(x, w, T, D, call.eps, call.y.f32(), call.rstd, ctx.stream, launched_early);
    run_norm(x, w, T, D, call.eps, call.y.bf16(), call.rstd, ctx.stream, launched_early);
  };
  if (call.term) return run(SumRow{call.x.f32(), call.term.f32(), call.sum.f32()});
  if (call.x.dtype == DType::f32) return run(PlainRow<float>{call.x.f32()});
  run(PlainRow<uint16_t>{call.x.bf16()});
}

void norm_backward(Context& ctx, const NormBackward& call) {
  const int64_t T = call.x.rows(), D = call.x.dim(-1);
  const bool narrow = call.dx && call.dx.grad.dtype == DType::bf16;
  ctx.tape->await_turn();
  if (call.dx && norm_gradients(ctx, {.x = call.x.data,
                                      .x_bf16 = call.x.dtype == DType::bf16,
                                      .dy = call.dy.f32(),
                                      .rstd = call.rstd,
                                      .w = call.w->value.f32(),
                                      .round_w = ctx.activations() == DType::bf16,
                                      .rows = T,
                                      .D = D,
                                      .dx = narrow ? nullptr : call.dx.grad.f32(),
                                      .add = call.dx.accumulate,
                                      .rounded = narrow         ? call.dx.grad.bf16()
                                                 : call.rounded ? call.rounded.bf16()
                                                                : nullptr,
                                      .dw = call.w->grad ? call.w->grad.f32() : nullptr}))
    return;
  const OpScope scope(ctx);
  const float* x = as_f32(ctx, call.x);
  const float* w = weight_f32(ctx, call.w->value);
  const NormRows rows{x, call.dy.f32(), call.rstd, T, D};
  if (call.dx) {
    float* dx = narrow ? ctx.arena.array<float>(T * D) : call.dx.grad.f32();
    const Tensor& rounded = narrow ? call.dx.grad : call.rounded;
    if (!ctx.measuring) {
      rms_norm_dx(rows, w, call.dx.accumulate, dx, ctx.stream);
      if (rounded) narrow_f32(dx, T * D, rounded.bf16(), ctx.stream);
    }
  }
  if (!call.w->grad) return;
  float* dw = call.w->grad.f32();
  if (sums_by_family(ctx))
    return run_column_blocks<true, true>(ctx, "rms_norm_dw", {rows.x, rows.dy, rows.rstd}, rows.T, rows.D, dw,
                                         AddWeightGradient());
  if (!ctx.measuring) rms_norm_dw(rows, dw, ctx.stream);
}

}  // namespace r1::cuda
