// ops/norm/norm_backward_cuda.cu: the whole backward of RMSNorm in one pass, in the order of sums of norm_cuda.cu and of
// ops/simd/column_blocks_cuda.cuh.
//
// A block owns a block of rows, of which dw is one chain per column. cp.async copies the next rows to shared memory while
// the current ones are worked on: half-warps sum c = g . x of a row each, then threads take columns for dw, then all
// elements are turned into dx.
#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include <algorithm>

#include "base/integers.h"
#include "ops/norm/norm_many_cuda.h"
#include "ops/simd/column_blocks_cuda.cuh"
#include "ops/simd/lanes_cuda.cuh"
#include "ops/simd/vectors_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMostRows = kThreads / kLanes;  // of a stage
constexpr int kStageBytes = 96 * 1024;        // of all stages: sm_89 has 99 KiB per block
constexpr int kFour = 4;

struct StagePlan {
  int rows = 0, stages = 0;  // no rows: one is too long
};

struct Job {
  NormGradients n;
  const RowBlock* blocks;
  float* chains;  // [blocks, D]; or null
  StagePlan plan;
};

template <class X>
__host__ __device__ constexpr int64_t row_bytes(int64_t D, bool add) {
  return D * static_cast<int64_t>(sizeof(X) + (add ? 2 : 1) * sizeof(float));
}

template <class X>
StagePlan plan_stages(int64_t D, bool add) {
  const int64_t bytes = row_bytes<X>(D, add);
  StagePlan plan;
  for (const int stages : {3, 2}) {
    plan.rows = static_cast<int>(std::min<int64_t>(kMostRows, kStageBytes / (stages * bytes)));
    plan.stages = stages;
    if (plan.rows > 0) break;
  }
  return plan;
}

// Copies `count` rows of D elements, which follow each other, by 16 bytes.
template <class V>
__device__ __forceinline__ void copy_rows_async(V* to, const V* from, int64_t count) {
  constexpr int kVector = 16 / sizeof(V);
  for (int i = static_cast<int>(threadIdx.x) * kVector; i < count; i += kThreads * kVector)
    __pipeline_memcpy_async(to + i, from + i, 16);
}

__device__ __forceinline__ float weight_at(const NormGradients& n, int64_t d) {
  return n.round_w ? through_bf16(n.w[d]) : n.w[d];
}

// kColumns: columns of a thread, at least D / kThreads.
template <int kColumns, class X>
__global__ void __launch_bounds__(kThreads) norm_backward_rows(Job job) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ float factors[kMostRows], rstds[kMostRows];
  const NormGradients& n = job.n;
  const int D = static_cast<int>(n.D), most = job.plan.rows;
  const RowBlock block = job.blocks[blockIdx.x];
  const int rows = static_cast<int>(block.end - block.first);
  const int stages = (rows + most - 1) / most;
  const int stage_bytes = most * static_cast<int>(row_bytes<X>(D, n.add));
  // A stage: dy, what dx holds, x.
  const auto stage_dy = [&](int s) {
    return reinterpret_cast<float*>(memory + s % job.plan.stages * stage_bytes);
  };
  const auto stage_dx = [&](int s) { return stage_dy(s) + most * D; };
  const auto stage_x = [&](int s) { return reinterpret_cast<X*>(stage_dy(s) + (n.add ? 2 : 1) * most * D); };
  const auto copy = [&](int s) {
    const int first = s * most;
    if (first < rows) {
      const int64_t from = (block.first + first) * n.D,
                    count = static_cast<int64_t>(min(most, rows - first)) * D;
      copy_rows_async(stage_dy(s), n.dy + from, count);
      if (n.add) copy_rows_async(stage_dx(s), static_cast<const float*>(n.dx) + from, count);
      copy_rows_async(stage_x(s), static_cast<const X*>(n.x) + from, count);
    }
    __pipeline_commit();  // also if it is empty: waits count commits
  };
  for (int s = 0; s < job.plan.stages - 1; ++s) copy(s);

  const int lane = threadIdx.x % kLanes, half = threadIdx.x / kLanes;
  const int fours = D / kFour;
  const int first_row = static_cast<int>(threadIdx.x) / fours,
            first_four = static_cast<int>(threadIdx.x) % fours;
  const int row_step = kThreads / fours, four_step = kThreads % fours;
  float dw[kColumns];
#pragma unroll
  for (int c = 0; c < kColumns; ++c) dw[c] = 0.0f;
  for (int s = 0; s < stages; ++s) {
    if (job.plan.stages == 3) {
      __pipeline_wait_prior(1);
    } else {
      __pipeline_wait_prior(0);
    }
    __syncthreads();
    copy(s + job.plan.stages - 1);  // into the stage that was read last
    const int here = min(most, rows - s * most);
    const float* dy = stage_dy(s);
    const X* x = stage_x(s);
    if (half / 2 * 2 < here) {  // whole warps run: lanes exchange sums
      const int row = min(half, here - 1);
      float sum = 0.0f;
#pragma unroll 8
      for (int d = lane; d < D; d += kLanes)
        sum = __fmaf_rn(__fmul_rn(dy[row * D + d], weight_at(n, d)), to_f32(x[row * D + d]), sum);
      sum = tree_sum(sum);
      if (lane == 0 && half < here) {
        const float r = n.rstd[block.first + s * most + row];
        rstds[row] = r;
        factors[row] = __fmul_rn(__fmul_rn(r, r), __fdiv_rn(sum, static_cast<float>(D)));
      }
    }
    __syncthreads();
    if (job.chains != nullptr) {
      for (int row = 0; row < here; ++row) {
        const float r = rstds[row];
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          const int d = static_cast<int>(threadIdx.x) + c * kThreads;
          if (d < D) dw[c] = __fmaf_rn(dy[row * D + d], __fmul_rn(to_f32(x[row * D + d]), r), dw[c]);
        }
      }
    }
    const float* held = stage_dx(s);
    for (int row = first_row, four = first_four; row < here;) {
      const float r = rstds[row], k = factors[row];
      const int at = row * D + four * kFour;
      float gradient[kFour], inputs[kFour], weights[kFour];
      load_neighbours(dy + at, gradient);
      load_neighbours(x + at, inputs);
      load_neighbours(n.w + four * kFour, weights);
#pragma unroll
      for (int e = 0; e < kFour; ++e) {
        const float g = __fmul_rn(gradient[e], n.round_w ? through_bf16(weights[e]) : weights[e]);
        gradient[e] = __fmul_rn(r, __fmaf_rn(-inputs[e], k, g));
      }
      if (n.add) {
        float sums[kFour];
        load_neighbours(held + at, sums);
#pragma unroll
        for (int e = 0; e < kFour; ++e) gradient[e] = __fadd_rn(sums[e], gradient[e]);
      }
      const int64_t to = (block.first + s * most) * n.D + at;
      if (n.dx != nullptr) store_neighbours(n.dx + to, gradient);
      if (n.rounded != nullptr) store_neighbours(n.rounded + to, gradient);
      row += row_step;
      four += four_step;
      if (four >= fours) {
        four -= fours;
        ++row;
      }
    }
  }
  if (job.chains == nullptr) return;
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    const int d = static_cast<int>(threadIdx.x) + c * kThreads;
    if (d < D) job.chains[static_cast<int64_t>(blockIdx.x) * D + d] = dw[c];
  }
}

template <int kColumns, class X>
void launch_rows(const Job& job, int64_t blocks, cudaStream_t stream) {
  const auto kernel = norm_backward_rows<kColumns, X>;
  const auto bytes = static_cast<int>(job.plan.stages * job.plan.rows * row_bytes<X>(job.n.D, job.n.add));
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kStageBytes),
        "cudaFuncSetAttribute");
  kernel<<<static_cast<unsigned>(blocks), kThreads, bytes, stream>>>(job);
  check_launch("rms_norm_backward");
}

template <class X>
void launch(const Job& job, int64_t blocks, cudaStream_t stream) {
  const int64_t columns = ceil_div(job.n.D, int64_t{kThreads});
  if (columns <= 1) return launch_rows<1, X>(job, blocks, stream);
  if (columns <= 3) return launch_rows<3, X>(job, blocks, stream);
  if (columns <= 6) return launch_rows<6, X>(job, blocks, stream);
  launch_rows<16, X>(job, blocks, stream);
}

bool aligned(const void* at) {
  return reinterpret_cast<uintptr_t>(at) % 16 == 0;
}

}  // namespace

bool norm_gradients(Context& ctx, const NormGradients& call) {
  const StagePlan plan =
      call.x_bf16 ? plan_stages<uint16_t>(call.D, call.add) : plan_stages<float>(call.D, call.add);
  if (!sums_by_family(ctx) || plan.rows == 0 || call.D % 8 != 0 || call.D > 16 * kThreads) return false;
  if (!aligned(call.x) || !aligned(call.dy) || !aligned(call.w) || !aligned(call.dx) ||
      !aligned(call.rounded))
    return false;
  const OpScope scope(ctx);
  const RowBlocks blocks(ctx, "rms_norm_backward", call.rows);
  float* chains = call.dw != nullptr ? ctx.arena.array<float>(blocks.count * call.D) : nullptr;
  if (ctx.measuring || blocks.count == 0) return true;
  const Job job{call, blocks.list, chains, plan};
  const auto stream = static_cast<cudaStream_t>(ctx.stream);
  if (call.x_bf16) {
    launch<uint16_t>(job, blocks.count, stream);
  } else {
    launch<float>(job, blocks.count, stream);
  }
  if (chains != nullptr) add_column_chains("rms_norm_dw", chains, blocks.count, call.D, call.dw, ctx.stream);
  return true;
}

}  // namespace r1::cuda
