#include <cuda_runtime.h>

#include "base/integers.h"
#include "ops/matmul/round_gradient_cuda.h"
#include "ops/simd/column_blocks_cuda.cuh"
#include "ops/simd/vectors_cuda.cuh"

namespace r1::cuda {
namespace {

constexpr int kThreads = 32;
constexpr int kEach = 4;   // columns of a thread
constexpr int kAhead = 8;  // rows of a batch; one batch is loaded while the one before it is summed

// A block takes a block of rows and kThreads * kEach columns.
__global__ void __launch_bounds__(kThreads)
    round_rows(const float* dy, const RowBlock* blocks, int64_t N, uint16_t* rounded, float* chains) {
  const int64_t n = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kEach;
  if (n >= N) return;
  const RowBlock rows = blocks[blockIdx.y];
  float sums[kEach] = {};
  const auto take = [&](int64_t t, const float(&row)[kEach]) {
#pragma unroll
    for (int e = 0; e < kEach; ++e) sums[e] = __fadd_rn(sums[e], row[e]);
    store_neighbours(rounded + t * N + n, row);
  };
  int64_t t = rows.first;
  float ahead[2][kAhead][kEach];
  const auto load = [&](float(&to)[kAhead][kEach], int64_t first) {
    if (first + kAhead > rows.end) return;
#pragma unroll
    for (int a = 0; a < kAhead; ++a) load_neighbours(dy + (first + a) * N + n, to[a]);
  };
  const auto take_all = [&](const float(&loaded)[kAhead][kEach], int64_t first) {
#pragma unroll
    for (int a = 0; a < kAhead; ++a) take(first + a, loaded[a]);
  };
  load(ahead[0], t);
  for (;;) {
    if (t + kAhead > rows.end) break;
    load(ahead[1], t + kAhead);
    take_all(ahead[0], t);
    t += kAhead;
    if (t + kAhead > rows.end) break;
    load(ahead[0], t + kAhead);
    take_all(ahead[1], t);
    t += kAhead;
  }
  for (; t < rows.end; ++t) {
    float row[kEach];
    load_neighbours(dy + t * N + n, row);
    take(t, row);
  }
  store_neighbours(chains + static_cast<int64_t>(blockIdx.y) * N + n, sums);
}

}  // namespace

bool round_and_sum_columns(Context& ctx, const float* dy, int64_t T, int64_t N, uint16_t* rounded,
                           float* dbias) {
  if (!sums_by_family(ctx) || N % kEach != 0 || !holds_neighbours<float, kEach>(dy)) return false;
  const OpScope scope(ctx);
  const RowBlocks blocks(ctx, "matmul_dbias", T);
  float* chains = ctx.arena.array<float>(blocks.count * N);
  if (ctx.measuring || blocks.count == 0 || N == 0) return true;
  const dim3 grid(static_cast<unsigned>(ceil_div(N, int64_t{kThreads * kEach})),
                  static_cast<unsigned>(blocks.count));
  round_rows<<<grid, kThreads, 0, static_cast<cudaStream_t>(ctx.stream)>>>(dy, blocks.list, N, rounded,
                                                                           chains);
  check_launch("narrow, matmul_dbias");
  add_column_chains("narrow, matmul_dbias", chains, blocks.count, N, dbias, ctx.stream);
  return true;
}

}  // namespace r1::cuda
