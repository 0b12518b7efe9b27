// ops/optim/optim_cuda.cu: AdamW and the gradient norm on a CUDA device. The formulas are those of
// optim_cpu.cc, in its order; the norm's blocks are summed in double by half-warps of sixteen lanes, and the
// blocks' sums, in order, by the host.
//
// A launch serves all tensors of a model (ops/simd/block_table_cuda.cuh).
#include <cuda_runtime.h>

#include <algorithm>
#include <span>

#include "base/integers.h"
#include "ops/optim/optim_backend.h"
#include "ops/simd/block_table_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "ops/simd/vectors_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kNormBlock = 4096;  // elements, as in optim_cpu.cc
constexpr int kHalfWarps = kThreads / kLanes;
constexpr int kEach = 4;  // neighbours that a thread takes at a time
constexpr int64_t kAdamBlock = int64_t{4} * kThreads * kEach;
constexpr int64_t kZeroBlock = int64_t{16} * kThreads * kEach;

struct AdamRow {
  int64_t first_block, n;
  const float* grad;
  float *w, *m, *v;
  float weight_decay;
};
struct GradientRow {
  int64_t first_block, n;
  float* at;
};

__device__ __forceinline__ void adam_step(const AdamConstants& k, float weight_decay, float grad, float& w,
                                          float& m, float& v) {
  const float g = __fmul_rn(grad, k.grad_scale);
  m = __fmaf_rn(k.b1, m, __fmul_rn(k.one_less_b1, g));
  v = __fmaf_rn(k.b2, v, __fmul_rn(k.one_less_b2, __fmul_rn(g, g)));
  const float root = __fadd_rn(__fsqrt_rn(__fdiv_rn(v, k.c2)), k.eps);
  const float change = __fdiv_rn(__fdiv_rn(m, k.c1), root);
  w = __fmaf_rn(-k.lr, __fmaf_rn(weight_decay, w, change), w);
}

// Tensors begin at multiples of 16 bytes.
__global__ void __launch_bounds__(kThreads) adam_steps(AdamConstants k, const AdamRow* rows, int count) {
  const AdamRow& row = row_of_block(rows, count, blockIdx.x);
  const int64_t first = (blockIdx.x - row.first_block) * kAdamBlock;
  const int64_t end = min(first + kAdamBlock, row.n);
#pragma unroll 2
  for (int64_t i = first + int64_t{kEach} * threadIdx.x; i < end; i += kThreads * kEach) {
    if (i + kEach <= end) {
      float g[kEach], w[kEach], m[kEach], v[kEach];
      load_neighbours(row.grad + i, g);
      load_neighbours(row.w + i, w);
      load_neighbours(row.m + i, m);
      load_neighbours(row.v + i, v);
#pragma unroll
      for (int e = 0; e < kEach; ++e) adam_step(k, row.weight_decay, g[e], w[e], m[e], v[e]);
      store_neighbours(row.w + i, w);
      store_neighbours(row.m + i, m);
      store_neighbours(row.v + i, v);
    } else {
      for (int64_t e = i; e < end; ++e)
        adam_step(k, row.weight_decay, row.grad[e], row.w[e], row.m[e], row.v[e]);
    }
  }
}

// sums[b] = the sum of squares of block b.
__global__ void __launch_bounds__(kThreads)
    block_squares(const GradientRow* rows, int count, int64_t blocks, double* sums) {
  const int64_t own = static_cast<int64_t>(blockIdx.x) * kHalfWarps + threadIdx.x / kLanes;
  const int64_t block = min(own, blocks - 1);  // whole warps run: lanes exchange sums
  const GradientRow& row = row_of_block(rows, count, block);
  const int64_t first = (block - row.first_block) * kNormBlock;
  const float* x = row.at + first;
  const int size = static_cast<int>(min(kNormBlock, row.n - first));
  double lane = 0;
#pragma unroll 16
  for (int i = threadIdx.x % kLanes; i < size; i += kLanes) {
    const auto value = static_cast<double>(x[i]);
    lane = __fma_rn(value, value, lane);
  }
  lane = tree_sum(lane);
  if (threadIdx.x % kLanes == 0 && own < blocks) sums[block] = lane;
}

__global__ void __launch_bounds__(kThreads) zero_blocks(const GradientRow* rows, int count) {
  const GradientRow& row = row_of_block(rows, count, blockIdx.x);
  const int64_t first = (blockIdx.x - row.first_block) * kZeroBlock;
  const int64_t end = min(first + kZeroBlock, row.n);
  const float zeros[kEach] = {};
#pragma unroll 4
  for (int64_t i = first + int64_t{kEach} * threadIdx.x; i < end; i += kThreads * kEach) {
    if (i + kEach <= end) {
      store_neighbours(row.at + i, zeros);
    } else {
      for (int64_t e = i; e < end; ++e) row.at[e] = 0.0f;
    }
  }
}

BlockTable<GradientRow> table_of(Context& ctx, std::span<const Tensor> gradients, int64_t block) {
  BlockTable<GradientRow> table(ctx, std::ssize(gradients));
  for (const Tensor& g : gradients) table.add({.first_block = 0, .n = g.count(), .at = g.f32()}, block);
  table.send(ctx);
  return table;
}

bool aligned(const void* at) {
  return reinterpret_cast<uintptr_t>(at) % 16 == 0;
}

cudaStream_t stream_of(const Context& ctx) {
  return static_cast<cudaStream_t>(ctx.stream);
}

}  // namespace

void adam_updates(Context& ctx, const AdamUpdates& call) {
  const OpScope scope(ctx);
  BlockTable<AdamRow> table(ctx, std::ssize(call.updates));
  for (const AdamUpdate& u : call.updates) {
    R1_CHECK(aligned(u.w.data) && aligned(u.grad.data) && aligned(u.m.data) && aligned(u.v.data),
             "a parameter ", u.w.shape.str(), " does not lie at a multiple of 16 bytes");
    table.add({.first_block = 0,
               .n = u.w.count(),
               .grad = u.grad.f32(),
               .w = u.w.f32(),
               .m = u.m.f32(),
               .v = u.v.f32(),
               .weight_decay = u.weight_decay},
              kAdamBlock);
  }
  table.send(ctx);
  if (ctx.measuring || table.blocks == 0) return;
  adam_steps<<<static_cast<unsigned>(table.blocks), kThreads, 0, stream_of(ctx)>>>(call.constants, table.rows,
                                                                                   table.count);
  check_launch("adamw");
}

double sum_of_squares(Context& ctx, const GradientNorm& call) {
  const OpScope scope(ctx);
  const BlockTable<GradientRow> table = table_of(ctx, call.gradients, kNormBlock);
  auto* sums = ctx.arena.array<double>(table.blocks);
  auto* on_host = ctx.host().array<double>(table.blocks);
  if (ctx.measuring || table.blocks == 0) return 0;
  block_squares<<<static_cast<unsigned>(ceil_div(table.blocks, int64_t{kHalfWarps})), kThreads, 0,
                  stream_of(ctx)>>>(table.rows, table.count, table.blocks, sums);
  check_launch("sum_of_squares");
  ctx.memory().read(on_host, sums, static_cast<size_t>(table.blocks) * sizeof(double), ctx.stream);
  double sum = 0;
  for (int64_t b = 0; b < table.blocks; ++b) sum += on_host[b];
  return sum;
}

void zero_gradients(Context& ctx, const ZeroGradients& call) {
  const OpScope scope(ctx);
  for (const Tensor& g : call.gradients)
    R1_CHECK(aligned(g.data), "a gradient ", g.shape.str(), " does not lie at a multiple of 16 bytes");
  const BlockTable<GradientRow> table = table_of(ctx, call.gradients, kZeroBlock);
  if (ctx.measuring || table.blocks == 0) return;
  zero_blocks<<<static_cast<unsigned>(table.blocks), kThreads, 0, stream_of(ctx)>>>(table.rows, table.count);
  check_launch("zero_gradients");
}

}  // namespace r1::cuda
