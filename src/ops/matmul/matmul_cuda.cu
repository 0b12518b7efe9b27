// ops/matmul/matmul_cuda.cu: ordered f32 products on a CUDA device.
//
// Every output is one chain of FMAs, run by one thread; tiles, stages and kernels never change a bit.
//
//   product_tiles  a block computes a tile of C, each thread 8 x 8 outputs, or 4 x 4. Tiles of A and B wait
//                  in shared memory, kStages deep; cp.async fills them. Per 4 steps of k, a thread reads 16
//                  vectors of 4 floats for 256 FMAs.
//   product_rows   for few rows of A (decoding): a warp computes up to 4 rows x 32 columns, one column per
//                  lane. The limit is the bandwidth that reads W, or K times the latency of one FMA.
//
// blockIdx.z is one of several products (Many): heads that lie apart, or experts with their rows.
#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "base/error.h"
#include "ops/matmul/matmul_cuda.h"
#include "ops/simd/columns_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kStepK = 16;  // of one stage
constexpr int kStages = 4;
constexpr int kPitch = kStepK + 4;  // floats between rows of a tile by k: 8 neighbours read different banks

// One operand's tile in shared memory: [kRows][kPitch] by k, [kStepK][kRows] otherwise.
template <int kRows, bool kByK>
struct Tile {
  static constexpr int kFloats = kByK ? kRows * kPitch : kRows * kStepK;

  // Copies rows [row0, row0 + kRows) and k [k0, k0 + kStepK), as far as they exist. The rest is left as it
  // is: outputs of missing rows are not stored, and steps of missing k are not run.
  template <int kThreads>
  static __device__ void copy(float* tile, const Operand& from, int64_t row0, int64_t rows, int64_t k0,
                              int64_t K, bool vectors) {
    constexpr int kAcross = kByK ? kStepK : kRows;  // consecutive floats
    constexpr int kDown = kByK ? kRows : kStepK;
    const int64_t across0 = kByK ? k0 : row0, down0 = kByK ? row0 : k0;
    const int64_t across = (kByK ? K : rows) - across0, down = (kByK ? rows : K) - down0;
    constexpr int kPerRow = kAcross / 4;
#pragma unroll
    for (int i = threadIdx.x; i < kDown * kPerRow; i += kThreads) {
      const int r = i / kPerRow, f = i % kPerRow * 4;
      if (r >= down) continue;
      float* to = tile + r * (kByK ? kPitch : kRows) + f;
      const float* at = from.data + (down0 + r) * from.row + across0 + f;
      if (vectors && f + 4 <= across) {
        __pipeline_memcpy_async(to, at, 16);
      } else {
        for (int e = 0; e < 4 && f + e < across; ++e) __pipeline_memcpy_async(to + e, at + e, 4);
      }
    }
  }

  // A thread's kPer rows of the tile. `lane` of kLanes neighbours; they start at row `first`. By k they are
  // kLanes apart; otherwise they are vectors of 4.
  template <int kLanes>
  static __device__ int row(int first, int lane, int i) {
    return kByK ? first + lane + i * kLanes : first + lane * 4 + i % 4 + i / 4 * (kLanes * 4);
  }
  // Reads k, k + 1, k + 2, k + 3 of these rows.
  template <int kLanes, int kPer>
  static __device__ void load(const float* tile, int first, int lane, int k, float (&out)[4][kPer]) {
    if constexpr (kByK) {
#pragma unroll
      for (int i = 0; i < kPer; ++i) {
        const float4 v = *reinterpret_cast<const float4*>(tile + row<kLanes>(first, lane, i) * kPitch + k);
        out[0][i] = v.x, out[1][i] = v.y, out[2][i] = v.z, out[3][i] = v.w;
      }
    } else {
#pragma unroll
      for (int s = 0; s < 4; ++s) {
#pragma unroll
        for (int i = 0; i < kPer; i += 4) {
          const float4 v =
              *reinterpret_cast<const float4*>(tile + (k + s) * kRows + row<kLanes>(first, lane, i));
          out[s][i] = v.x, out[s][i + 1] = v.y, out[s][i + 2] = v.z, out[s][i + 3] = v.w;
        }
      }
    }
  }
};

// A thread computes kPer x kPer outputs; the threads of a warp lie 4 x 8, and kDown x kAcross warps in the
// block.
template <int kDown, int kAcross, int kPer>
struct Block {
  static constexpr int kThreads = 32 * kDown * kAcross;
  static constexpr int kWarpM = 4 * kPer, kWarpN = 8 * kPer;
  static constexpr int kM = kWarpM * kDown, kN = kWarpN * kAcross;
};

template <class B, bool kAByK, bool kBByK>
constexpr int shared_floats() {
  return kStages * (Tile<B::kM, kAByK>::kFloats + Tile<B::kN, kBByK>::kFloats);
}

template <int kPer>
__device__ __forceinline__ void multiply(float (&sums)[kPer][kPer], const float (&a)[kPer],
                                         const float (&b)[kPer]) {
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
#pragma unroll
    for (int j = 0; j < kPer; ++j) sums[i][j] = __fmaf_rn(a[i], b[j], sums[i][j]);
  }
}

// One product among several: what differs from the first.
struct One {
  static constexpr int64_t count = 1;
  int64_t rows(const ProductF32& p) const { return p.M; }
  __device__ bool enter(ProductF32&) const { return true; }
};
struct Many {
  int64_t count = 1;
  Apart apart;
  ByExpert experts;

  // About how many rows a product has.
  int64_t rows(const ProductF32& p) const {
    return experts.starts == nullptr || experts.rows_are_k ? p.M : std::min(p.M, experts.typical);
  }
  // Makes p the product of blockIdx.z. Returns false if there is nothing to do.
  __device__ bool enter(ProductF32& p) const {
    const int64_t z = blockIdx.z;
    if (experts.starts == nullptr) {
      p.a.data += z * apart.a;
      p.b.data += z * apart.b;
      p.c += z * apart.c;
      return true;
    }
    const int64_t first = experts.starts[z], rows = experts.starts[z + 1] - first;
    p.a.data += first * p.a.row;
    if (experts.rows_are_k) {
      p.K = rows;
      p.b.data += first * p.b.row;
      p.c = experts.gradients[z];
    } else {
      p.M = rows;
      p.b.data = experts.weights[z];
      p.c += first * p.c_row;
    }
    return rows > 0 && p.c != nullptr;
  }
};

template <int kDown, int kAcross, int kPer, bool kAByK, bool kBByK, class Which>
__global__ void __launch_bounds__(32 * kDown * kAcross)
    product_tiles(ProductF32 p, Which which, bool a_vectors, bool b_vectors) {
  using B = Block<kDown, kAcross, kPer>;
  using TileA = Tile<B::kM, kAByK>;
  using TileB = Tile<B::kN, kBByK>;
  extern __shared__ __align__(16) float tiles[];
  float* const tiles_b = tiles + kStages * TileA::kFloats;
  const int64_t m0 = static_cast<int64_t>(blockIdx.x) * B::kM, n0 = static_cast<int64_t>(blockIdx.y) * B::kN;
  if (!which.enter(p) || m0 >= p.M) return;
  const int warp = threadIdx.x / 32, lane_m = threadIdx.x % 32 / 8, lane_n = threadIdx.x % 8;
  const int first_m = warp % kDown * B::kWarpM, first_n = warp / kDown * B::kWarpN;
  const auto copy = [&](int64_t stage) {
    const int at = static_cast<int>(stage % kStages);
    const int64_t k0 = stage * kStepK;
    TileA::template copy<B::kThreads>(tiles + at * TileA::kFloats, p.a, m0, p.M, k0, p.K, a_vectors);
    TileB::template copy<B::kThreads>(tiles_b + at * TileB::kFloats, p.b, n0, p.N, k0, p.K, b_vectors);
    __pipeline_commit();
  };
  const auto output = [&](int i, int j, bool* inside) {
    const int64_t m = m0 + TileA::template row<4>(first_m, lane_m, i);
    const int64_t n = n0 + TileB::template row<8>(first_n, lane_n, j);
    *inside = m < p.M && n < p.N;
    return p.c + m * p.c_row + n;
  };

  for (int64_t s = 0; s < kStages - 1; ++s) copy(s);
  float sums[kPer][kPer];
#pragma unroll
  for (int e = 0; e < kPer * kPer; ++e) {
    bool inside = false;
    const float* at = output(e / kPer, e % kPer, &inside);
    sums[e / kPer][e % kPer] = p.accumulate && inside ? *at : 0.0f;
  }
  const int64_t stages = (p.K + kStepK - 1) / kStepK;
  for (int64_t s = 0; s < stages; ++s) {
    __pipeline_wait_prior(kStages - 2);
    __syncthreads();
    copy(s + kStages - 1);
    const float* a_tile = tiles + s % kStages * TileA::kFloats;
    const float* b_tile = tiles_b + s % kStages * TileB::kFloats;
    float a[4][kPer], b[4][kPer];
    const int64_t left = p.K - s * kStepK;
    if (left >= kStepK) {
#pragma unroll
      for (int k = 0; k < kStepK; k += 4) {
        TileA::template load<4>(a_tile, first_m, lane_m, k, a);
        TileB::template load<8>(b_tile, first_n, lane_n, k, b);
#pragma unroll
        for (int i = 0; i < 4; ++i) multiply(sums, a[i], b[i]);
      }
    } else {
      for (int k = 0; k < left; k += 4) {
        TileA::template load<4>(a_tile, first_m, lane_m, k, a);
        TileB::template load<8>(b_tile, first_n, lane_n, k, b);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (k + i < left) multiply(sums, a[i], b[i]);
        }
      }
    }
  }
#pragma unroll
  for (int e = 0; e < kPer * kPer; ++e) {
    bool inside = false;
    float* at = output(e / kPer, e % kPer, &inside);
    if (!inside) continue;
    const int64_t n = n0 + TileB::template row<8>(first_n, lane_n, e % kPer);
    const float sum = sums[e / kPer][e % kPer];
    *at = p.bias != nullptr ? __fadd_rn(sum, p.bias[n]) : sum;
  }
}

bool has_vectors(const Operand& o) {
  return o.row % 4 == 0 && reinterpret_cast<uintptr_t>(o.data) % 16 == 0;
}

// Vectors can be loaded in every one of the products.
bool all_have_vectors(const Operand& o, const One&, int64_t) {
  return has_vectors(o);
}
bool all_have_vectors(const Operand& o, const Many& many, int64_t apart) {
  return has_vectors(o) && apart % 4 == 0 && (o.data != nullptr || many.experts.aligned);
}
int64_t a_apart(const One&) {
  return 0;
}
int64_t a_apart(const Many& many) {
  return many.apart.a;
}
int64_t b_apart(const One&) {
  return 0;
}
int64_t b_apart(const Many& many) {
  return many.apart.b;
}

template <int kDown, int kAcross, int kPer, bool kAByK, bool kBByK, class Which>
void launch_tiles(const ProductF32& p, const Which& which, cudaStream_t stream) {
  using B = Block<kDown, kAcross, kPer>;
  constexpr int kBytes = shared_floats<B, kAByK, kBByK>() * static_cast<int>(sizeof(float));
  const auto kernel = product_tiles<kDown, kAcross, kPer, kAByK, kBByK, Which>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "cudaFuncSetAttribute");
  const dim3 grid(static_cast<unsigned>((p.M + B::kM - 1) / B::kM),
                  static_cast<unsigned>((p.N + B::kN - 1) / B::kN), static_cast<unsigned>(which.count));
  kernel<<<grid, B::kThreads, kBytes, stream>>>(p, which, all_have_vectors(p.a, which, a_apart(which)),
                                                all_have_vectors(p.b, which, b_apart(which)));
  check_launch("product_tiles");
}

// Tiles of 128 x 128 read the least; if they leave multiprocessors idle, tiles of 32 x 64 do better. If those
// are few, four warps share each, whose shorter steps finish long chains sooner.
template <bool kAByK, bool kBByK, class Which>
void launch_best_tiles(const ProductF32& p, const Which& which, cudaStream_t stream) {
  const int64_t rows = which.rows(p);
  const auto blocks = [&](int64_t m, int64_t n) {
    return (rows + m - 1) / m * ((p.N + n - 1) / n) * which.count;
  };
  if (blocks(128, 128) >= multiprocessors() && (rows > 32 || which.count == 1)) {
    launch_tiles<4, 2, 8, kAByK, kBByK>(p, which, stream);
  } else if (blocks(32, 64) >= 4 * multiprocessors()) {
    launch_tiles<1, 1, 8, kAByK, kBByK>(p, which, stream);
  } else {
    launch_tiles<2, 2, 4, kAByK, kBByK>(p, which, stream);
  }
}

// --- few rows
// -------------------------------------------------------------------------------------------------

constexpr int kRowsK = 64;  // floats of k in one stage
constexpr int kRowsStages = 6;
constexpr int kRowsPitch = kRowsK + 4;
constexpr int kRowsPerWarp = 4;
constexpr int kMostWarps = 4;      // that multiply
constexpr int kRowsThreads = 128;  // every warp copies
constexpr int kColumnsHere = 32;

// kRows rows of A for each of `warps` warps, 32 columns per block. A and B by k. Stage: B [32][kRowsPitch],
// then A [warps * kRows][kRowsPitch].
template <int kRows, class Which>
__global__ void __launch_bounds__(kRowsThreads)
    product_rows(ProductF32 p, Which which, int warps, bool a_vectors, bool b_vectors) {
  extern __shared__ __align__(16) float stages_memory[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int rows = warps * kRows;
  const int stage_floats = (kColumnsHere + rows) * kRowsPitch;
  const int64_t m0 = static_cast<int64_t>(blockIdx.y) * rows,
                n0 = static_cast<int64_t>(blockIdx.x) * kColumnsHere;
  if (!which.enter(p) || m0 >= p.M) return;
  const auto copy_rows = [&](float* to, const Operand& from, int64_t row0, int count, int64_t all, int64_t k0,
                             bool vectors) {
#pragma unroll 4
    for (int i = threadIdx.x; i < count * (kRowsK / 4); i += kRowsThreads) {
      const int r = i / (kRowsK / 4), f = i % (kRowsK / 4) * 4;
      if (row0 + r >= all) continue;
      const float* at = from.data + (row0 + r) * from.row + k0 + f;
      float* here = to + r * kRowsPitch + f;
      if (vectors && k0 + f + 4 <= p.K) {
        __pipeline_memcpy_async(here, at, 16);
      } else {
        for (int e = 0; e < 4 && k0 + f + e < p.K; ++e) __pipeline_memcpy_async(here + e, at + e, 4);
      }
    }
  };
  const auto copy = [&](int64_t stage) {
    float* to = stages_memory + stage % kRowsStages * stage_floats;
    copy_rows(to, p.b, n0, kColumnsHere, p.N, stage * kRowsK, b_vectors);
    copy_rows(to + kColumnsHere * kRowsPitch, p.a, m0, rows, p.M, stage * kRowsK, a_vectors);
    __pipeline_commit();
  };

  for (int64_t s = 0; s < kRowsStages - 1; ++s) copy(s);
  const int64_t n = n0 + lane, first = m0 + warp * kRows;
  float sums[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i)
    sums[i] =
        p.accumulate && warp < warps && n < p.N && first + i < p.M ? p.c[(first + i) * p.c_row + n] : 0.0f;
  const int64_t stages = (p.K + kRowsK - 1) / kRowsK;
  for (int64_t s = 0; s < stages; ++s) {
    __pipeline_wait_prior(kRowsStages - 2);
    __syncthreads();
    copy(s + kRowsStages - 1);
    if (warp >= warps) continue;
    const float* b = stages_memory + s % kRowsStages * stage_floats + lane * kRowsPitch;
    const float* a =
        stages_memory + s % kRowsStages * stage_floats + (kColumnsHere + warp * kRows) * kRowsPitch;
    const int64_t left = p.K - s * kRowsK;
    if (left >= kRowsK) {
#pragma unroll 4
      for (int k = 0; k < kRowsK; k += 4) {
        const float4 w = *reinterpret_cast<const float4*>(b + k);
        float4 x[kRows];
#pragma unroll
        for (int i = 0; i < kRows; ++i) x[i] = *reinterpret_cast<const float4*>(a + i * kRowsPitch + k);
#pragma unroll
        for (int i = 0; i < kRows; ++i) sums[i] = __fmaf_rn(x[i].x, w.x, sums[i]);
#pragma unroll
        for (int i = 0; i < kRows; ++i) sums[i] = __fmaf_rn(x[i].y, w.y, sums[i]);
#pragma unroll
        for (int i = 0; i < kRows; ++i) sums[i] = __fmaf_rn(x[i].z, w.z, sums[i]);
#pragma unroll
        for (int i = 0; i < kRows; ++i) sums[i] = __fmaf_rn(x[i].w, w.w, sums[i]);
      }
    } else {
      for (int k = 0; k < left; ++k) {
#pragma unroll
        for (int i = 0; i < kRows; ++i) sums[i] = __fmaf_rn(a[i * kRowsPitch + k], b[k], sums[i]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    if (warp >= warps || n >= p.N || first + i >= p.M) continue;
    p.c[(first + i) * p.c_row + n] = p.bias != nullptr ? __fadd_rn(sums[i], p.bias[n]) : sums[i];
  }
}

template <int kRows, class Which>
void launch_rows(const ProductF32& p, const Which& which, cudaStream_t stream) {
  const int warps = static_cast<int>(std::min<int64_t>(kMostWarps, (p.M + kRows - 1) / kRows));
  const auto bytes_of = [](int w) {
    return kRowsStages * (kColumnsHere + w * kRows) * kRowsPitch * static_cast<int>(sizeof(float));
  };
  static_assert(bytes_of(kMostWarps) <= 99 * 1024, "sm_89 has no more per block");
  const auto kernel = product_rows<kRows, Which>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes_of(warps)),
        "cudaFuncSetAttribute");
  const dim3 grid(static_cast<unsigned>((p.N + kColumnsHere - 1) / kColumnsHere),
                  static_cast<unsigned>((p.M + warps * kRows - 1) / (warps * kRows)),
                  static_cast<unsigned>(which.count));
  kernel<<<grid, kRowsThreads, bytes_of(warps), stream>>>(p, which, warps,
                                                          all_have_vectors(p.a, which, a_apart(which)),
                                                          all_have_vectors(p.b, which, b_apart(which)));
  check_launch("product_rows");
}

constexpr int64_t kFewRows = kMostWarps * kRowsPerWarp;

template <class Which>
void launch(const ProductF32& p, const Which& which, void* stream) {
  if (p.M == 0 || p.N == 0 || which.count == 0) return;
  const auto s = static_cast<cudaStream_t>(stream);
  if (p.a.by_k && p.b.by_k) {
    const int64_t rows = which.rows(p);
    if (rows <= 1) return launch_rows<1>(p, which, s);
    if (rows == 2) return launch_rows<2>(p, which, s);
    if (rows <= kFewRows) return launch_rows<kRowsPerWarp>(p, which, s);
    return launch_best_tiles<true, true>(p, which, s);
  }
  if (p.a.by_k) return launch_best_tiles<true, false>(p, which, s);
  R1_CHECK(!p.b.by_k, "no product takes a transposed A and a B by k");
  launch_best_tiles<false, false>(p, which, s);
}

}  // namespace

void product_f32(const ProductF32& p, void* stream) {
  launch(p, One(), stream);
}

void products_f32(const ProductF32& p, const Apart& apart, void* stream) {
  launch(p, Many{.count = apart.count, .apart = apart, .experts = {}}, stream);
}

void products_f32(const ProductF32& p, const ByExpert& experts, void* stream) {
  launch(p, Many{.count = experts.count, .apart = {}, .experts = experts}, stream);
}

void matmul_f32(const float* x, int64_t T, const float* w, int64_t N, int64_t K, const float* bias, float* y,
                void* stream) {
  product_f32(
      {.M = T, .N = N, .K = K, .a = {x, K, true}, .b = {w, K, true}, .c = y, .c_row = N, .bias = bias},
      stream);
}

void matmul_dx_f32(const float* dy, int64_t T, const float* w, int64_t N, int64_t K, bool accumulate,
                   float* dx, void* stream) {
  product_f32({.M = T,
               .N = K,
               .K = N,
               .a = {dy, N, true},
               .b = {w, K, false},
               .c = dx,
               .c_row = K,
               .accumulate = accumulate},
              stream);
}

void matmul_dw_f32(const float* x, const float* dy, int64_t T, int64_t N, int64_t K, float* dw,
                   void* stream) {
  product_f32({.M = N,
               .N = K,
               .K = T,
               .a = {dy, N, false},
               .b = {x, K, false},
               .c = dw,
               .c_row = K,
               .accumulate = true},
              stream);
}

namespace {
struct AddRow {
  __device__ float operator()(float sum, float dy, float, float) const { return __fadd_rn(sum, dy); }
};
}  // namespace

void matmul_dbias_f32(const float* dy, int64_t T, int64_t N, float* dbias, void* stream) {
  run_column_chains<false, false>("matmul_dbias", {dy, nullptr, nullptr}, T, N, dbias, AddRow(), stream);
}

}  // namespace r1::cuda
