// ops/simd/columns_cuda.cuh: sums over rows that run in the order of the rows, one chain per column.
//
// A chain cannot be cut, so the only parallelism is across columns. A block takes kColumns of them: all of
// its warps copy rows into shared memory, several stages ahead, and one warp runs the chains. The narrower
// blocks are for matrices with few columns; 8 floats are still a whole sector of memory.
#pragma once

#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "tensor/cuda.h"

namespace r1::cuda {

inline constexpr int kColumnThreads = 256;
inline constexpr int kColumnStages = 4;

// Arrays [T, D] that a chain reads, at most two.
struct ColumnInputs {
  const float* first;
  const float* second;   // or null
  const float* per_row;  // [T], or null
};

// sums[d] = step(sums[d], first[t, d], second[t, d], per_row[t]) for t = 0, 1, ... in order.
template <int kColumns, bool kSecond, bool kPerRow, class Step>
__global__ void __launch_bounds__(kColumnThreads)
    column_chains(ColumnInputs in, int64_t T, int64_t D, float* sums, Step step) {
  constexpr int kRows = 1024 / kColumns;  // of one stage
  __shared__ float first[kColumnStages][kRows][kColumns];
  __shared__ float second[kSecond ? kColumnStages : 1][kRows][kColumns];
  __shared__ float per_row[kPerRow ? kColumnStages : 1][kRows];
  const int64_t d0 = static_cast<int64_t>(blockIdx.x) * kColumns;
  const int column = threadIdx.x % kColumns;
  const bool inside = d0 + column < D;
  const auto copy = [&](int64_t stage) {
    const int at = static_cast<int>(stage % kColumnStages);
    const int64_t t0 = stage * kRows;
    for (int r = threadIdx.x / kColumns; r < kRows && t0 + r < T; r += kColumnThreads / kColumns) {
      if (!inside) continue;
      const int64_t from = (t0 + r) * D + d0 + column;
      __pipeline_memcpy_async(&first[at][r][column], in.first + from, sizeof(float));
      if constexpr (kSecond) __pipeline_memcpy_async(&second[at][r][column], in.second + from, sizeof(float));
    }
    if constexpr (kPerRow) {
      const int r = threadIdx.x;
      if (r < kRows && t0 + r < T)
        __pipeline_memcpy_async(&per_row[at][r], in.per_row + t0 + r, sizeof(float));
    }
    __pipeline_commit();  // also if it is empty: waits count commits
  };
  const int64_t stages = (T + kRows - 1) / kRows;
  for (int64_t s = 0; s < kColumnStages - 1; ++s) copy(s);
  const bool sums_here = threadIdx.x < kColumns && inside;
  float sum = sums_here ? sums[d0 + column] : 0.0f;
  for (int64_t s = 0; s < stages; ++s) {
    __pipeline_wait_prior(kColumnStages - 2);
    __syncthreads();
    copy(s + kColumnStages - 1);  // into the stage that was read last
    if (!sums_here) continue;
    const int at = static_cast<int>(s % kColumnStages);
    const int64_t left = T - s * kRows;
    const auto row = [&](int r) {
      sum = step(sum, first[at][r][column], kSecond ? second[at][r][column] : 0.0f,
                 kPerRow ? per_row[at][r] : 0.0f);
    };
    if (left >= kRows) {
#pragma unroll 16
      for (int r = 0; r < kRows; ++r) row(r);
    } else {
      for (int r = 0; r < left; ++r) row(r);
    }
  }
  if (sums_here) sums[d0 + column] = sum;
}

template <bool kSecond, bool kPerRow, class Step>
void run_column_chains(const char* name, const ColumnInputs& in, int64_t T, int64_t D, float* sums,
                       const Step& step, void* stream) {
  if (T == 0 || D == 0) return;
  const auto s = static_cast<cudaStream_t>(stream);
  constexpr int kWide = 32, kNarrow = 8;
  if (D >= int64_t{kWide} * multiprocessors()) {
    column_chains<kWide, kSecond, kPerRow>
        <<<static_cast<unsigned>((D + kWide - 1) / kWide), kColumnThreads, 0, s>>>(in, T, D, sums, step);
  } else {
    column_chains<kNarrow, kSecond, kPerRow>
        <<<static_cast<unsigned>((D + kNarrow - 1) / kNarrow), kColumnThreads, 0, s>>>(in, T, D, sums, step);
  }
  check_launch(name);
}

}  // namespace r1::cuda
