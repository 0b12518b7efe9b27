// ops/norm/norm_backward_cuda.cu: the whole backward of RMSNorm in one pass, in the order of sums of norm_cuda.cu and of
// ops/simd/column_blocks_cuda.cuh.
//
// A block owns a block of rows, of which dw is one chain per column. cp.async copies the next rows to shared memory while
// the current ones are worked on: half-warps sum c = g . x of a row each, then threads take columns for dw, then all
// elements are turned into dx. Two blocks share a multiprocessor, so that one's waits are the other's work.
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

constexpr int kThreads = 512;
constexpr int kMostRows = kThreads / kLanes;  // a stage's rows
constexpr int64_t kEveryDevice =
    96 * 1024;  // bytes of shared memory that a block has on every device: sm_89, 99 KiB
constexpr int kFour = 4;

struct StagePlan {
  int rows = 0, stages = 0;  // no rows: one is too long
  int64_t bytes = 0;         // shared memory: the weights, then the stages
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

// The weights, [D] in f32, and two or three stages in `budget` bytes. Rows of a stage are summed side by side, so that many
// rows are worth more than a third stage.
StagePlan plan_stages(const NormGradients& n, int64_t budget) {
  const int64_t bytes = n.x_bf16 ? row_bytes<uint16_t>(n.D, n.add) : row_bytes<float>(n.D, n.add);
  const int64_t weights = n.D * static_cast<int64_t>(sizeof(float));
  const auto rows_of = [&](int stages) {
    return std::min<int64_t>(kMostRows, (budget - weights) / (stages * bytes));
  };
  constexpr int64_t kEnough = 8;
  const int stages = rows_of(3) >= kEnough ? 3 : 2;
  const int64_t rows = rows_of(stages);
  if (rows <= 0) return {};
  return {static_cast<int>(rows), stages, weights + stages * rows * bytes};
}

// The plan for this device: two blocks per multiprocessor, if there are so many and they find room.
StagePlan plan_for_device(const NormGradients& n, int64_t blocks) {
  constexpr int64_t kReserved = 2048;  // the block's other memory, and what the device takes
  static const int64_t most = [] {
    int bytes = 0;
    check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0),
          "cudaDeviceGetAttribute");
    return int64_t{bytes};
  }();
  if (blocks <= multiprocessors()) return plan_stages(n, most - kReserved);
  const StagePlan half = plan_stages(n, most / 2 - kReserved);
  return half.rows > 1 ? half : plan_stages(n, most - kReserved);
}

// Copies `count` rows of D elements, which follow each other, by 16 bytes.
template <class V>
__device__ __forceinline__ void copy_rows_async(V* to, const V* from, int64_t count) {
  constexpr int kVector = 16 / sizeof(V);
  for (int i = static_cast<int>(threadIdx.x) * kVector; i < count; i += kThreads * kVector)
    __pipeline_memcpy_async(to + i, from + i, 16);
}

// kColumns: columns of a thread, at least D / kThreads.
template <int kColumns, class X>
__global__ void __launch_bounds__(kThreads, 2) norm_backward_rows(Job job) {
  extern __shared__ __align__(16) float weights[];  // [D], as the forward saw them; the stages follow
  __shared__ float factors[kMostRows], rstds[kMostRows];
  const NormGradients& n = job.n;
  const int D = static_cast<int>(n.D), most = job.plan.rows;
  const RowBlock block = job.blocks[blockIdx.x];
  const int rows = static_cast<int>(block.end - block.first);
  const int stages = (rows + most - 1) / most;
  const int stage_bytes = most * static_cast<int>(row_bytes<X>(D, n.add));
  // A stage: dy, what dx holds, x.
  const auto stage_dy = [&](int s) {
    return weights + D + s % job.plan.stages * (stage_bytes / static_cast<int>(sizeof(float)));
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
  for (int d = threadIdx.x; d < D; d += kThreads) weights[d] = n.round_w ? through_bf16(n.w[d]) : n.w[d];

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
      const float r = n.rstd[block.first + s * most + row];
      float sum = 0.0f;
#pragma unroll 8
      for (int d = lane; d < D; d += kLanes)
        sum = __fmaf_rn(__fmul_rn(dy[row * D + d], weights[d]), to_f32(x[row * D + d]), sum);
      sum = tree_sum(sum);
      if (lane == 0 && half < here) {
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
      float gradient[kFour], inputs[kFour], factor_w[kFour];
      load_neighbours(dy + at, gradient);
      load_neighbours(x + at, inputs);
      load_neighbours(weights + four * kFour, factor_w);
#pragma unroll
      for (int e = 0; e < kFour; ++e) {
        const float g = __fmul_rn(gradient[e], factor_w[e]);
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
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(job.plan.bytes)),
        "cudaFuncSetAttribute");
  kernel<<<static_cast<unsigned>(blocks), kThreads, static_cast<size_t>(job.plan.bytes), stream>>>(job);
  check_launch("rms_norm_backward");
}

template <class X>
void launch(const Job& job, int64_t blocks, cudaStream_t stream) {
  const int64_t columns = ceil_div(job.n.D, int64_t{kThreads});
  if (columns <= 1) return launch_rows<1, X>(job, blocks, stream);
  if (columns <= 2) return launch_rows<2, X>(job, blocks, stream);
  if (columns <= 3) return launch_rows<3, X>(job, blocks, stream);
  launch_rows<8, X>(job, blocks, stream);
}

bool aligned(const void* at) {
  return reinterpret_cast<uintptr_t>(at) % 16 == 0;
}

}  // namespace

bool norm_gradients(Context& ctx, const NormGradients& call) {
  // Which kernels run does not depend on the device, because memory is also measured without one.
  if (!sums_by_family(ctx) || plan_stages(call, kEveryDevice).rows == 0 || call.D % 8 != 0 ||
      call.D > 8 * kThreads)
    return false;
  if (!aligned(call.x) || !aligned(call.dy) || !aligned(call.w) || !aligned(call.dx) ||
      !aligned(call.rounded))
    return false;
  const OpScope scope(ctx);
  const RowBlocks blocks(ctx, "rms_norm_backward", call.rows);
  float* chains = call.dw != nullptr ? ctx.arena.array<float>(blocks.count * call.D) : nullptr;
  if (ctx.measuring || blocks.count == 0) return true;
  const Job job{call, blocks.list, chains, plan_for_device(call, blocks.count)};
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
