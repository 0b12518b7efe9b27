// ops/optim/optim_cuda.cu: AdamW and the gradient norm on a CUDA device. The formulas are those of
// optim_cpu.cc, in its order; the norm's blocks are summed in double by half-warps of sixteen lanes, and the
// blocks' sums, in order, by the host.
#include <cuda_runtime.h>

#include <algorithm>

#include "base/integers.h"
#include "ops/optim/optim_backend.h"
#include "ops/simd/lanes_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kNormBlock = 4096;  // elements, as in optim_cpu.cc
constexpr int kHalfWarps = kThreads / kLanes;

__global__ void __launch_bounds__(kThreads)
    adam_steps(AdamConstants k, int64_t n, const float* grad, float* w, float* m, float* v) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += step) {
    const float g = __fmul_rn(grad[i], k.grad_scale);
    const float mi = __fmaf_rn(k.b1, m[i], __fmul_rn(k.one_less_b1, g));
    const float vi = __fmaf_rn(k.b2, v[i], __fmul_rn(k.one_less_b2, __fmul_rn(g, g)));
    const float root = __fadd_rn(__fsqrt_rn(__fdiv_rn(vi, k.c2)), k.eps);
    const float change = __fdiv_rn(__fdiv_rn(mi, k.c1), root);
    m[i] = mi;
    v[i] = vi;
    w[i] = __fmaf_rn(-k.lr, __fmaf_rn(k.weight_decay, w[i], change), w[i]);
  }
}

// sums[b] = the sum of squares of block b of x [n].
__global__ void __launch_bounds__(kThreads) block_squares(const float* x, int64_t n, double* sums) {
  const int64_t block = static_cast<int64_t>(blockIdx.x) * kHalfWarps + threadIdx.x / kLanes;
  const int64_t first = block * kNormBlock;
  const int64_t count = first < n ? min(kNormBlock, n - first) : 0;  // whole warps run: lanes exchange sums
  double lane = 0;
#pragma unroll 8
  for (int64_t i = threadIdx.x % kLanes; i < count; i += kLanes) {
    const double value = static_cast<double>(x[first + i]);
    lane = __fma_rn(value, value, lane);
  }
  lane = tree_sum(lane);
  if (threadIdx.x % kLanes == 0 && count > 0) sums[block] = lane;
}

}  // namespace

void adam_update(Context& ctx, const AdamUpdate& call) {
  const int64_t n = call.w.count();
  if (ctx.measuring || n == 0) return;
  const int64_t blocks = std::min(ceil_div(n, kThreads), int64_t{multiprocessors()} * 32);
  adam_steps<<<static_cast<unsigned>(blocks), kThreads, 0, static_cast<cudaStream_t>(ctx.stream)>>>(
      call.constants, n, call.grad.f32(), call.w.f32(), call.m.f32(), call.v.f32());
  check_launch("adamw");
}

double sum_of_squares(Context& ctx, const GradientNorm& call) {
  const OpScope scope(ctx);
  int64_t blocks = 0;
  for (const Tensor& g : call.gradients) blocks += ceil_div(g.count(), kNormBlock);
  auto* sums = ctx.arena.array<double>(blocks);
  auto* on_host = ctx.host().array<double>(blocks);
  if (ctx.measuring) return 0;
  int64_t first = 0;
  for (const Tensor& g : call.gradients) {
    const int64_t count = ceil_div(g.count(), kNormBlock);
    if (count == 0) continue;
    block_squares<<<static_cast<unsigned>(ceil_div(count, kHalfWarps)), kThreads, 0,
                    static_cast<cudaStream_t>(ctx.stream)>>>(g.f32(), g.count(), sums + first);
    check_launch("sum_of_squares");
    first += count;
  }
  ctx.memory().read(on_host, sums, static_cast<size_t>(blocks) * sizeof(double), ctx.stream);
  double sum = 0;
  for (int64_t b = 0; b < blocks; ++b) sum += on_host[b];
  return sum;
}

void zero_gradients(Context& ctx, const ZeroGradients& call) {
  for (const Tensor& g : call.gradients) ctx.memory().zero(g.data, g.bytes(), ctx.stream);
}

}  // namespace r1::cuda
