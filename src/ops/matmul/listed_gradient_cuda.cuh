// ops/matmul/listed_gradient_cuda.cuh: gradients of weights over listed rows, many in one launch, by mma.sync.
//
//   D[i, j] = chain;  chain = accumulate ? D[i, j] : +0
//   for every step of 16 k in order: chain = mma(chain, the step's products P[p_rows[k], i] Q[q_rows[k], j])
//
// A row -1 is not there: its products are 0. Without a list, k is the row. For kernels of ops that multiply without a Weight: experts, and the heads of
// latent attention.
#pragma once

#include "ops/matmul/tensor_tile_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {

struct ListedGradient {
  const uint16_t *p = nullptr, *q = nullptr;
  int64_t p_row = 0, q_row = 0;                        // elements between rows
  const int32_t *p_rows = nullptr, *q_rows = nullptr;  // [k], or null
  int64_t k = 0;
  int64_t I = 0, J = 0;
  float* d = nullptr;                        // [I, J]
  bool accumulate = false, vectors = false;  // vectors: rows of P and Q begin at multiples of 16 bytes
};

// A block computes kHeight x 128 of D.
template <int kHeight>
struct ListedTile {
  static constexpr int kI = kHeight, kJ = 128, kThreads = 256, kStages = 3;
  using P = TensorTile<kI, false>;
  using Q = TensorTile<kJ, false>;
  static constexpr int kDownWarps = 2, kRowsI = kI / 2, kRowsJ = 32;  // a warp's share of a tile
  static constexpr int kBytes = 2 * kStages * (P::kElements + Q::kElements);
  static_assert(kBytes <= 99 * 1024, "sm_89 has no more per block");
  // Blocks for D of I x J.
  static __host__ __device__ int64_t tiles(int64_t I, int64_t J) {
    return (I + kI - 1) / kI * ((J + kJ - 1) / kJ);
  }
};

// Copies k [k0, k0 + kTileK) of the listed rows, columns from `column0` on; what does not exist becomes zeros.
template <class Tile, int kThreads>
__device__ __forceinline__ void copy_listed(uint16_t* tile, const uint16_t* from, int64_t row,
                                            const int32_t* rows, int64_t k0, int64_t k, int64_t column0,
                                            int64_t columns, bool vectors) {
  constexpr int kApart = kThreads / Tile::kVectors;
  const int vector = static_cast<int>(threadIdx.x) % Tile::kVectors,
            first = static_cast<int>(threadIdx.x) / Tile::kVectors;
  const int64_t column = column0 + vector * kVector;
  const int bytes = vector_bytes(columns - column);
  int32_t at[Tile::kLines / kApart];
#pragma unroll
  for (int turn = 0; turn < Tile::kLines / kApart; ++turn) {
    const int64_t mine = k0 + first + turn * kApart;
    at[turn] = mine >= k || bytes == 0 ? -1 : rows != nullptr ? rows[mine] : static_cast<int32_t>(mine);
  }
#pragma unroll
  for (int turn = 0; turn < Tile::kLines / kApart; ++turn)
    copy_vector(tile + Tile::place(first + turn * kApart, vector),
                at[turn] >= 0 ? from + at[turn] * row + column : from, at[turn] >= 0 ? bytes : 0, vectors);
}

// which.enter(g, tile) makes g this block's gradient and returns which of its tiles the block computes, or -1.
template <class Tile, class Which>
__global__ void __launch_bounds__(Tile::kThreads) listed_gradients(const __grid_constant__ Which which) {
  using P = typename Tile::P;
  using Q = typename Tile::Q;
  constexpr int kA = Tile::kRowsI / 16, kB = Tile::kRowsJ / 8, kStages = Tile::kStages;
  extern __shared__ __align__(128) uint16_t listed_stages[];
  uint16_t* const stages_q = listed_stages + kStages * P::kElements;
  ListedGradient g;
  const int64_t tile = which.enter(g);
  if (tile < 0 || (g.k == 0 && g.accumulate)) return;
  const int64_t tiles_j = (g.J + Tile::kJ - 1) / Tile::kJ;
  const int64_t i0 = tile / tiles_j * Tile::kI, j0 = tile % tiles_j * Tile::kJ;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_i = warp % Tile::kDownWarps * Tile::kRowsI, warp_j = warp / Tile::kDownWarps * Tile::kRowsJ;
  const auto copy = [&](int64_t stage) {
    if (stage * kTileK < g.k) {
      copy_listed<P, Tile::kThreads>(listed_stages + stage % kStages * P::kElements, g.p, g.p_row, g.p_rows,
                                     stage * kTileK, g.k, i0, g.I, g.vectors);
      copy_listed<Q, Tile::kThreads>(stages_q + stage % kStages * Q::kElements, g.q, g.q_row, g.q_rows,
                                     stage * kTileK, g.k, j0, g.J, g.vectors);
    }
    copy_commit();  // also if it is empty: waits count commits
  };
  for (int64_t s = 0; s < kStages - 1; ++s) copy(s);

  // Element e of (a, b) is at i = first_i + 16 a + 8 (e / 2), j = first_j + 8 b + e % 2.
  int64_t first_i = i0 + warp_i + lane / 4, first_j = j0 + warp_j + lane % 4 * 2;
  float chain[kA][kB][4];
#pragma unroll
  for (int a = 0; a < kA; ++a) {
#pragma unroll
    for (int b = 0; b < kB; ++b) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t i = first_i + 16 * a + 8 * (e / 2), j = first_j + 8 * b + e % 2;
        chain[a][b][e] = g.accumulate && i < g.I && j < g.J ? g.d[i * g.J + j] : 0.0f;
      }
    }
  }
  const int64_t steps = (g.k + kTensorStep - 1) / kTensorStep, stages = (steps + kTileSteps - 1) / kTileSteps;
  for (int64_t stage = 0; stage < stages; ++stage) {
    copy_wait<kStages - 2>();
    __syncthreads();
    copy(stage + kStages - 1);
    const uint16_t* p = listed_stages + stage % kStages * P::kElements;
    const uint16_t* q = stages_q + stage % kStages * Q::kElements;
    const auto step = [&](int s) {
      uint32_t av[kA][4], bv[kB / 2][4];
#pragma unroll
      for (int a = 0; a < kA; ++a) P::load_a(av[a], p, warp_i + 16 * a, s);
#pragma unroll
      for (int b = 0; b < kB / 2; ++b) Q::load_b(bv[b], q, warp_j + 16 * b, s);
#pragma unroll
      for (int a = 0; a < kA; ++a) {
#pragma unroll
        for (int b = 0; b < kB; ++b) tensor_mma(chain[a][b], av[a], bv[b / 2] + b % 2 * 2);
      }
    };
    if (steps - stage * kTileSteps >= kTileSteps) {
#pragma unroll
      for (int s = 0; s < kTileSteps; ++s) step(s);
    } else {
#pragma unroll 1
      for (int s = 0; s < steps - stage * kTileSteps; ++s) step(s);
    }
  }
  forget(first_i), forget(first_j);
#pragma unroll
  for (int a = 0; a < kA; ++a) {
#pragma unroll
    for (int b = 0; b < kB; ++b) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t i = first_i + 16 * a + 8 * (e / 2), j = first_j + 8 * b + e % 2;
        if (i < g.I && j < g.J) g.d[i * g.J + j] = chain[a][b][e];
      }
    }
  }
}

template <class Tile, class Which>
void launch_listed(const Which& which, dim3 grid, void* stream, const char* name) {
  const auto kernel = listed_gradients<Tile, Which>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kBytes),
        "cudaFuncSetAttribute");
  kernel<<<grid, Tile::kThreads, Tile::kBytes, static_cast<cudaStream_t>(stream)>>>(which);
  check_launch(name);
}

}  // namespace r1::cuda
