// ops/attention/chains_cuda.cuh: the inner product of attention on a CUDA device: a tile of outputs, each one
// chain of FMAs, as chains-inl.h has it.
//
//   sums[m, n] = fma(A[m, k], B[k, n], sums[m, n])   for the k of row m in order
//
// A block of four warps computes 4 kRows rows by 32 kCols columns: a thread kRows rows of one lane's columns.
// Chunks of kStep steps of k lie in two buffers of shared memory: while one is computed with, cp.async fills
// the other. Elements of bf16 are widened on their way, without cp.async.
#pragma once

#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "ops/simd/bf16_cuda.cuh"

namespace r1::cuda {

inline constexpr int kChainWarps = 4;
inline constexpr int kChainThreads = 32 * kChainWarps;
inline constexpr int kStep = 32;

// True if vectors of 4 elements may be copied from p and from rows `row` elements apart.
template <class V>
__device__ __host__ inline bool takes_vectors(const V* p, int64_t row) {
  return reinterpret_cast<uintptr_t>(p) % (4 * sizeof(V)) == 0 && row % 4 == 0;
}

template <int kRows, int kCols>
struct ChainTile {
  static constexpr int kTileRows = kChainWarps * kRows, kColumns = 32 * kCols;
  static constexpr int kPitch = kStep + 4, kColumnPitch = kColumns + 4;  // whole vectors of 4
  alignas(16) float a[2][kTileRows][kPitch];
  alignas(16) float b[2][kStep][kColumnPitch];

  // A thread's rows and columns in the tile.
  static __device__ int row(int i) { return static_cast<int>(threadIdx.x) / 32 * kRows + i; }
  static __device__ int column(int c) { return static_cast<int>(threadIdx.x) % 32 + 32 * c; }

  static __device__ void copy4(float* to, const float* from, int n, bool vectors) {
    if (vectors && n >= 4) {
      __pipeline_memcpy_async(to, from, 16);
    } else {
      for (int e = 0; e < 4 && e < n; ++e) __pipeline_memcpy_async(to + e, from + e, 4);
    }
  }

  static __device__ void copy4(float* to, const uint16_t* from, int n, bool vectors) {
    if (vectors && n >= 4) {
      const uint2 bits = *reinterpret_cast<const uint2*>(from);
      *reinterpret_cast<float4*>(to) = {__uint_as_float(bits.x << 16), __uint_as_float(bits.x & 0xFFFF0000u),
                                        __uint_as_float(bits.y << 16), __uint_as_float(bits.y & 0xFFFF0000u)};
    } else {
      for (int e = 0; e < 4 && e < n; ++e) to[e] = to_f32(from[e]);
    }
  }
  static __device__ void copy1(float* to, const float* from) { __pipeline_memcpy_async(to, from, 4); }
  static __device__ void copy1(float* to, const uint16_t* from) { *to = to_f32(*from); }

  // Fills A: row_at(r) is where the n steps of row r begin, side by side.
  template <class RowAt>
  __device__ void fill_a(int at, int rows, int n, bool vectors, const RowAt& row_at) {
#pragma unroll 2
    for (int i = static_cast<int>(threadIdx.x); i < rows * (kStep / 4); i += kChainThreads) {
      const int r = i / (kStep / 4), k = i % (kStep / 4) * 4;
      if (k < n) copy4(&a[at][r][k], row_at(r) + k, n - k, vectors);
    }
  }
  // Fills A step by step: element(r, k) is null if it is 0.
  template <class Element>
  __device__ void fill_a_by_step(int at, int rows, int n, const Element& element) {
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x); i < kTileRows * n; i += kChainThreads) {
      const int k = i / kTileRows, r = i % kTileRows;
      if (r >= rows) continue;
      if (const float* from = element(r, k)) {
        __pipeline_memcpy_async(&a[at][r][k], from, 4);
      } else {
        a[at][r][k] = 0.0f;
      }
    }
  }
  // Fills B: element(k, c) is where columns c to c + 3 of step k lie, c a multiple of 4.
  template <class Element>
  __device__ void fill_b(int at, int n, int columns, bool vectors, const Element& element) {
#pragma unroll 2
    for (int i = static_cast<int>(threadIdx.x); i < n * (kColumns / 4); i += kChainThreads) {
      const int k = i / (kColumns / 4), c = i % (kColumns / 4) * 4;
      if (c < columns) copy4(&b[at][k][c], element(k, c), columns - c, vectors);
    }
  }
  // Fills b from columns that do not lie side by side: element(k, c) is one element.
  template <class Element>
  __device__ void fill_b_singly(int at, int n, int columns, const Element& element) {
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x); i < n * kColumns; i += kChainThreads) {
      const int k = i / kColumns, c = i % kColumns;
      if (c < columns) copy1(&b[at][k][c], element(k, c));
    }
  }
  // Fills B transposed: column_at(c) is where the n steps of column c begin, side by side.
  template <class ColumnAt>
  __device__ void fill_b_transposed(int at, int n, int columns, const ColumnAt& column_at) {
    const int k = static_cast<int>(threadIdx.x) % kStep;
#pragma unroll 4
    for (int c = static_cast<int>(threadIdx.x) / kStep; c < columns; c += kChainThreads / kStep)
      if (k < n) copy1(&b[at][k][c], column_at(c) + k);
  }

  // Runs chunks 0 to count - 1: fill(chunk, buffer) copies one, compute(chunk, buffer) reads it.
  template <class Fill, class Compute>
  static __device__ void for_chunks(int64_t count, const Fill& fill, const Compute& compute) {
    __syncthreads();  // nobody reads the buffers any more
    if (count > 0) fill(int64_t{0}, 0);
    __pipeline_commit();
    for (int64_t chunk = 0; chunk < count; ++chunk) {
      const int at = static_cast<int>(chunk % 2);
      __pipeline_wait_prior(0);
      __syncthreads();
      if (chunk + 1 < count) fill(chunk + 1, 1 - at);
      __pipeline_commit();
      compute(chunk, at);
    }
  }

  // Runs n steps for all rows of this thread.
  __device__ void run(int at, int n, float (&sums)[kRows][kCols]) const {
    const float(*mine)[kPitch] = a[at] + row(0);
    const float(*all)[kColumnPitch] = b[at];
    const int lane = column(0);
    if (n == kStep) {
#pragma unroll 2
      for (int k = 0; k < kStep; k += 4) {
        float4 av[kRows];
#pragma unroll
        for (int i = 0; i < kRows; ++i) av[i] = *reinterpret_cast<const float4*>(&mine[i][k]);
        step(sums, av, all + k, lane);
      }
      return;
    }
    for (int k = 0; k < n; ++k) {
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
#pragma unroll
        for (int c = 0; c < kCols; ++c) sums[i][c] = __fmaf_rn(mine[i][k], all[k][lane + 32 * c], sums[i][c]);
      }
    }
  }
  // Runs steps k of [0, n) with first[i] <= k < end[i], for each row i.
  __device__ void run_within(int at, int n, const int (&first)[kRows], const int (&end)[kRows],
                             float (&sums)[kRows][kCols]) const {
    const float(*mine)[kPitch] = a[at] + row(0);
    const int lane = column(0);
    for (int k = 0; k < n; ++k) {
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        if (k < first[i] || k >= end[i]) continue;
#pragma unroll
        for (int c = 0; c < kCols; ++c)
          sums[i][c] = __fmaf_rn(mine[i][k], b[at][k][lane + 32 * c], sums[i][c]);
      }
    }
  }

 private:
  static __device__ __forceinline__ void step(float (&sums)[kRows][kCols], const float4 (&av)[kRows],
                                              const float (*all)[kColumnPitch], int lane) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      float bv[kCols];
#pragma unroll
      for (int c = 0; c < kCols; ++c) bv[c] = all[s][lane + 32 * c];
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
