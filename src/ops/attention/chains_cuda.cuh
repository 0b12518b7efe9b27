// ops/attention/chains_cuda.cuh: the inner product of attention on a CUDA device: a tile of outputs, each one
// chain of FMAs, as chains-inl.h has it.
//
//   sums[m, n] = fma(A[m, k], B[k, n], sums[m, n])   for the k of row m in order
//
// A block of four warps computes 4 kRows rows by 32 kCols columns: a thread kRows rows of one lane's columns.
// kStep steps of k at a time lie in shared memory, put there by the block.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace r1::cuda {

inline constexpr int kChainWarps = 4;
inline constexpr int kChainThreads = 32 * kChainWarps;
inline constexpr int kStep = 32;

template <int kRows, int kCols>
struct ChainTile {
  static constexpr int kTileRows = kChainWarps * kRows, kColumns = 32 * kCols;
  static constexpr int kPitch = kStep + 4;           // of A: whole vectors of 4
  static constexpr int kColumnPitch = kColumns + 1;  // of B: transposed stores go to different banks
  alignas(16) float a[kTileRows][kPitch];
  float b[kStep][kColumnPitch];

  // A thread's rows and columns in the tile.
  static __device__ int row(int i) { return static_cast<int>(threadIdx.x) / 32 * kRows + i; }
  static __device__ int column(int c) { return static_cast<int>(threadIdx.x) % 32 + 32 * c; }

  // Fills A from load(row, k) for `rows` rows and n steps: neighbouring threads take neighbouring k.
  template <class Load>
  __device__ void fill_a(int rows, int n, const Load& load) {
    const int k = static_cast<int>(threadIdx.x) % kStep;
    for (int r = static_cast<int>(threadIdx.x) / kStep; r < rows; r += kChainThreads / kStep)
      if (k < n) a[r][k] = load(r, k);
  }
  // The same, for neighbouring threads that take neighbouring rows.
  template <class Load>
  __device__ void fill_a_by_rows(int rows, int n, const Load& load) {
    for (int i = static_cast<int>(threadIdx.x); i < kTileRows * n; i += kChainThreads) {
      const int k = i / kTileRows, r = i % kTileRows;
      if (r < rows) a[r][k] = load(r, k);
    }
  }
  // Fills B from load(k, column) for n steps and `columns` columns: neighbouring threads take neighbouring
  // columns, or (by_k) neighbouring k.
  template <class Load>
  __device__ void fill_b(int n, int columns, const Load& load) {
    for (int i = static_cast<int>(threadIdx.x); i < n * kColumns; i += kChainThreads) {
      const int k = i / kColumns, c = i % kColumns;
      if (c < columns) b[k][c] = load(k, c);
    }
  }
  template <class Load>
  __device__ void fill_b_by_k(int n, int columns, const Load& load) {
    const int k = static_cast<int>(threadIdx.x) % kStep;
    for (int c = static_cast<int>(threadIdx.x) / kStep; c < columns; c += kChainThreads / kStep)
      if (k < n) b[k][c] = load(k, c);
  }

  // Runs n steps for all rows of this thread.
  __device__ void run(int n, float (&sums)[kRows][kCols]) const {
    const float(*mine)[kPitch] = a + row(0);
    const int lane = column(0);
    if (n == kStep) {
#pragma unroll 2
      for (int k = 0; k < kStep; k += 4) {
        float4 av[kRows];
#pragma unroll
        for (int i = 0; i < kRows; ++i) av[i] = *reinterpret_cast<const float4*>(&mine[i][k]);
        step(sums, av, k, lane);
      }
      return;
    }
    for (int k = 0; k < n; ++k) {
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
#pragma unroll
        for (int c = 0; c < kCols; ++c) sums[i][c] = __fmaf_rn(mine[i][k], b[k][lane + 32 * c], sums[i][c]);
      }
    }
  }
  // Runs steps k of [0, n) with first[i] <= k < end[i], for each row i.
  __device__ void run_within(int n, const int (&first)[kRows], const int (&end)[kRows],
                             float (&sums)[kRows][kCols]) const {
    const float(*mine)[kPitch] = a + row(0);
    const int lane = column(0);
    for (int k = 0; k < n; ++k) {
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        if (k < first[i] || k >= end[i]) continue;
#pragma unroll
        for (int c = 0; c < kCols; ++c) sums[i][c] = __fmaf_rn(mine[i][k], b[k][lane + 32 * c], sums[i][c]);
      }
    }
  }

 private:
  __device__ __forceinline__ void step(float (&sums)[kRows][kCols], const float4 (&av)[kRows], int k,
                                       int lane) const {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      float bv[kCols];
#pragma unroll
      for (int c = 0; c < kCols; ++c) bv[c] = b[k + s][lane + 32 * c];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const float value = s == 0 ? av[i].x : s == 1 ? av[i].y : s == 2 ? av[i].z : av[i].w;
#pragma unroll
        for (int c = 0; c < kCols; ++c) sums[i][c] = __fmaf_rn(value, bv[c], sums[i][c]);
      }
    }
  }
};

template <int kRows, int kCols>
__device__ __forceinline__ void clear(float (&sums)[kRows][kCols]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int c = 0; c < kCols; ++c) sums[i][c] = 0.0f;
  }
}

}  // namespace r1::cuda
