// ops/matmul/tensor_product_sm90.cu: bf16 products by wgmma, for many rows of Q on Hopper GPUs (sm_90a).
//
// A block stays on its multiprocessor and computes tiles of kI x kJ outputs, one after the other. Its third
// warpgroup copies stages of 64 k into shared memory, as far ahead as there is room, also of the next tile;
// the other two multiply, 64 rows each. Stages are handed on through barriers: `full` when all copies of the
// third warpgroup have arrived, `empty` when all eight warps have read. Chains and totals are those of
// mma.sync, register by register.
//
// Operands that are not by k, weights in dx and both in dW, are read from shared memory as they lie in
// memory: wgmma transposes. The rows of k that dW needs are gathered by the copies.
#include <algorithm>

#include "base/error.h"
#include "ops/matmul/tensor_product_sm90.h"
#include "ops/matmul/tensor_tile_cuda.cuh"
#include "ops/matmul/wgmma_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kGroups = 2, kCopiers = 128, kThreads = 128 * kGroups + kCopiers;
constexpr int kI = 64 * kGroups;
// 168 per thread at the launch (65536 in all): the copiers give up what the others take.
constexpr int kCopierRegisters = 40, kRegisters = 232;

template <int kJ>
constexpr int kStageBytes = (kI + kJ) * kTileK * 2;
template <int kJ>
constexpr int kStagesOf = 200 * 1024 / kStageBytes<kJ>;
constexpr int kAligned = 1024;
template <int kJ>
constexpr int kBytesOf = kStagesOf<kJ>* kStageBytes<kJ> + kAligned;
static_assert(kBytesOf<128> <= 226 * 1024 && kBytesOf<192> <= 226 * 1024 && kBytesOf<256> <= 226 * 1024,
              "sm_90 has no more per block");

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define R1_HAS_WGMMA 1
#endif

// The place of a stage in K: [k0, end), of which at most 64 k exist.
struct Stage {
  int64_t k0, end;
};
__device__ __forceinline__ Stage stage_at(const TensorProduct& product, const TensorShards& shards,
                                          int64_t shard, int64_t stage) {
  const int64_t begin = shard * shards.steps * kTensorStep;
  return {begin + stage * kTileK, min(begin + shards.steps * kTensorStep, product.K)};
}

// The tile of number `tile`: kGroupJ tiles of j side by side share their rows of P in the second-level cache.
template <int kJ>
__device__ __forceinline__ void place_of_tile(const TensorProduct& product, int64_t tile, int64_t* i0,
                                              int64_t* j0) {
  constexpr int64_t kGroupJ = 8;
  const int64_t tiles_i = (product.I + kI - 1) / kI, tiles_j = (product.J + kJ - 1) / kJ;
  const int64_t group = tile / (kGroupJ * tiles_i), place = tile % (kGroupJ * tiles_i);
  const int64_t width = min(kGroupJ, tiles_j - group * kGroupJ);
  *i0 = place / width * kI;
  *j0 = (group * kGroupJ + place % width) * kJ;
}

// A copier has one vector of every kApart-th line of a panel.
constexpr int kApart = kCopiers / 8, kTurns = kTileK / kApart;

// Rows [row0, row0 + kRows) of an operand by k; what does not exist becomes zeros.
template <int kRows>
__device__ __forceinline__ void copy_by_k(uint32_t to, const TensorOperand& from, int64_t row0, int64_t rows,
                                          Stage stage, int copier) {
  const int vector = copier % 8, first = copier / 8;
  const int64_t k = stage.k0 + vector * kVector;
  const int bytes = vector_bytes(stage.end - k),
            left = static_cast<int>(min(rows - row0, int64_t{kRows})) - first;
  const uint16_t* line = from.data + (row0 + first) * from.row + k;
  const int64_t apart = kApart * from.row;
  const uint32_t place = to + static_cast<uint32_t>(panel_place(first, vector));
#pragma unroll
  for (int turn = 0; turn < kRows / kApart; ++turn, line += apart) {
    const bool inside = turn * kApart < left && bytes > 0;
    copy_async(place + static_cast<uint32_t>(turn * kApart * kPanelLine), inside ? line : from.data,
               inside ? bytes : 0);
  }
}

// Copies a stage of an operand by rows; `lines` are the rows of memory of this copier's k, -1: zeros.
template <int kRows>
__device__ __forceinline__ void copy_by_rows(uint32_t to, const TensorOperand& from, int64_t row0,
                                             int64_t rows, const int32_t (&lines)[kTurns], int copier) {
  const int vector = copier % 8, first = copier / 8;
  const uint32_t place = to + static_cast<uint32_t>(panel_place(first, vector));
#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn) {
    const int64_t row = row0 + vector * kVector;
    const uint16_t* const line = from.data + lines[turn] * from.row + row;
#pragma unroll
    for (int panel = 0; panel < kRows / 64; ++panel) {
      const int bytes = lines[turn] < 0 ? 0 : vector_bytes(rows - row - 64 * panel);
      copy_async(place + static_cast<uint32_t>(panel * kPanel + turn * kApart * kPanelLine),
                 bytes > 0 ? line + 64 * panel : from.data, bytes);
    }
  }
}

__device__ __forceinline__ void rows_of_k(const TensorProduct& product, Stage stage, int copier,
                                          int32_t (&lines)[kTurns]) {
#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn) {
    const int64_t k = stage.k0 + copier / 8 + turn * kApart;
    lines[turn] = k >= stage.end              ? -1
                  : product.k_rows != nullptr ? product.k_rows[k]
                                              : static_cast<int32_t>(k);
  }
}

// Stages go round in shared memory.
template <int kStages>
struct Turn {
  int at = 0, parity = 0;
  __device__ __forceinline__ void next() {
    if (++at == kStages) at = 0, parity ^= 1;
  }
};

__device__ __forceinline__ uint32_t transpose_block(uint32_t value) {
  uint32_t out;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(value));
  return out;
}

// Stores a warp's 16 x (2 kCount) outputs from (i0, j0) on.
template <int kCount>
__device__ __forceinline__ void store_warp(const TensorProduct& product, int64_t i0, int64_t j0,
                                           const float (&total)[kCount]) {
  forget(i0), forget(j0);
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  const bool pairs = product.d_bf16 && product.d_i == 1 && product.d_j % 2 == 0 && i0 + 16 <= product.I &&
                     reinterpret_cast<uintptr_t>(product.d) % 4 == 0;
  if (pairs) {  // of neighbours in i: a block of 8 x 8 outputs is transposed among the lanes
#pragma unroll
    for (int b = 0; b < kCount / 4; ++b) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t i = i0 + g + 8 * half;
        const uint32_t low = bf16_bits(add_bias(product, i, total[4 * b + 2 * half]));
        const uint32_t high = bf16_bits(add_bias(product, i, total[4 * b + 2 * half + 1]));
        const uint32_t turned = transpose_block(low | high << 16);
        const int64_t j = j0 + 8 * b + g;
        if (j < product.J)
          *reinterpret_cast<uint32_t*>(static_cast<uint16_t*>(product.d) + i0 + 8 * half + 2 * t +
                                       j * product.d_j) = turned;
      }
    }
    return;
  }
#pragma unroll
  for (int e = 0; e < kCount; ++e) {
    const int64_t i = i0 + g + e / 2 % 2 * 8, j = j0 + e / 4 * 8 + 2 * t + e % 2;
    if (i < product.I && j < product.J) store_total(product, i, j, total[e]);
  }
}

// Loads what the first chain begins with.
template <int kCount>
__device__ __forceinline__ void load_warp(const TensorProduct& product, int64_t i0, int64_t j0,
                                          float (&chain)[kCount]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int e = 0; e < kCount; ++e) chain[e] = 0.0f;
  if (!product.accumulate) return;
#pragma unroll
  for (int e = 0; e < kCount; ++e) {
    const int64_t i = i0 + g + e / 2 % 2 * 8, j = j0 + e / 4 * 8 + 2 * t + e % 2;
    if (i < product.I && j < product.J)
      chain[e] = static_cast<const float*>(product.d)[i * product.d_i + j * product.d_j];
  }
}

template <int kJ, bool kPByK, bool kQByK, bool kSharded>
__global__ void __launch_bounds__(kThreads, 1)
    wgmma_tiles(const __grid_constant__ TensorProduct product, TensorShards shards, int64_t tiles) {
#ifdef R1_HAS_WGMMA
  constexpr int kStages = kStagesOf<kJ>, kP = kI * kTileK * 2;
  constexpr int kCount = kJ / 2;  // outputs of a thread
  extern __shared__ uint8_t wgmma_stages[];
  __shared__ uint64_t barriers[2 * kStages];
  const uint32_t stages =
      (static_cast<uint32_t>(__cvta_generic_to_shared(wgmma_stages)) + kAligned - 1) / kAligned * kAligned;
  const auto full = static_cast<uint32_t>(__cvta_generic_to_shared(barriers)), empty = full + 8 * kStages;
  if (threadIdx.x == 0) {
    for (uint32_t s = 0; s < kStages; ++s) {
      barrier_init(full + 8 * s, kCopiers);
      barrier_init(empty + 8 * s, 4 * kGroups);
    }
  }
  __syncthreads();
  const int64_t stages_each = (shards.steps + kTileSteps - 1) / kTileSteps;
  Turn<kStages> turn;
  if (threadIdx.x >= 128 * kGroups) {
    give_registers<kCopierRegisters>();
    const int copier = static_cast<int>(threadIdx.x) - 128 * kGroups;
    int32_t lines[kTurns] = {}, next[kTurns] = {};
    if constexpr (!kPByK) rows_of_k(product, stage_at(product, shards, 0, 0), copier, next);
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
      int64_t i0 = 0, j0 = 0;
      place_of_tile<kJ>(product, tile, &i0, &j0);
      int64_t shard = 0, in_shard = 0;
      while (shard < shards.count) {
        const Stage here = stage_at(product, shards, shard, in_shard);
        if (++in_shard == stages_each) in_shard = 0, ++shard;
        if constexpr (!kPByK) {
#pragma unroll
          for (int l = 0; l < kTurns; ++l) lines[l] = next[l];
          // The next stage's are read before it waits; those after a tile's last are the next tile's first.
          rows_of_k(product, stage_at(product, shards, shard < shards.count ? shard : 0, in_shard), copier,
                    next);
        }
        barrier_wait(empty + static_cast<uint32_t>(8 * turn.at), turn.parity ^ 1);
        const uint32_t to = stages + static_cast<uint32_t>(turn.at * kStageBytes<kJ>);
        if constexpr (kPByK) {
          copy_by_k<kI>(to, product.p, i0, product.I, here, copier);
        } else {
          copy_by_rows<kI>(to, product.p, i0, product.I, lines, copier);
        }
        if constexpr (kQByK) {
          copy_by_k<kJ>(to + kP, product.q, j0, product.J, here, copier);
        } else {
          copy_by_rows<kJ>(to + kP, product.q, j0, product.J, lines, copier);
        }
        barrier_arrive_after_copies(full + static_cast<uint32_t>(8 * turn.at));
        turn.next();
      }
    }
    copy_commit();
    copy_wait<0>();
  } else {
    take_registers<kRegisters>();
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    // The warpgroup's rows of P: lines of one panel by k, or a panel of their own.
    const auto mine = static_cast<uint32_t>(warp / 4 * kPanel);
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
      int64_t i0 = 0, j0 = 0;
      place_of_tile<kJ>(product, tile, &i0, &j0);
      i0 += 16 * warp;
      float chain[kCount], total[kSharded ? kCount : 1];
      if constexpr (kSharded) {
#pragma unroll
        for (int e = 0; e < kCount; ++e) total[e] = -0.0f;  // -0 + x is x, whatever x is
      }
      load_warp(product, i0, j0, chain);
      for (int64_t shard = 0; shard < shards.count; ++shard) {
        for (int64_t s = 0; s < stages_each; ++s) {
          const auto at = static_cast<uint32_t>(turn.at);
          barrier_wait(full + 8 * at, turn.parity);
          wgmma_see_shared();
          const uint32_t p = stages + at * kStageBytes<kJ> + mine, q = stages + at * kStageBytes<kJ> + kP;
          wgmma_hold(chain);
          wgmma_fence();
          // Steps past the end of the shard add zeros. Branches, or groups that run on across one, would make the
          // instructions wait for each other.
#pragma unroll
          for (uint32_t step = 0; step < kTileSteps; ++step) {
            Wgmma<kJ>::template run<kPByK ? 0 : 1, kQByK ? 0 : 1>(
                chain, panel_descriptor<kPByK>(p + step * kPanelStep<kPByK>),
                panel_descriptor<kQByK>(q + step * kPanelStep<kQByK>));
          }
          wgmma_commit();
          // While this warpgroup waits and hands the stage back, the other one multiplies.
          wgmma_wait<0>();
          wgmma_hold(chain);
          if (lane == 0) barrier_arrive(empty + 8 * at);
          turn.next();
        }
        if constexpr (kSharded) {
#pragma unroll
          for (int e = 0; e < kCount; ++e) {
            total[e] = __fadd_rn(total[e], chain[e]);
            chain[e] = 0.0f;
          }
        }
      }
      if constexpr (kSharded) {
        store_warp(product, i0, j0, total);
      } else {
        store_warp(product, i0, j0, chain);
      }
    }
  }
#endif
}

template <int kJ>
int64_t tiles_of(const TensorProduct& product) {
  return (product.I + kI - 1) / kI * ((product.J + kJ - 1) / kJ);
}

template <int kJ, bool kPByK, bool kQByK, bool kSharded>
void launch_wgmma(const TensorProduct& product, cudaStream_t stream) {
  const auto kernel = wgmma_tiles<kJ, kPByK, kQByK, kSharded>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytesOf<kJ>),
        "cudaFuncSetAttribute");
  const int64_t tiles = tiles_of<kJ>(product), blocks = std::min<int64_t>(tiles, multiprocessors());
  kernel<<<static_cast<unsigned>(blocks), kThreads, kBytesOf<kJ>, stream>>>(
      product, tensor_shards(product.K, product.most_shards), tiles);
  check_launch("wgmma_tiles");
}

template <int kJ>
void launch_sharded(const TensorProduct& product, cudaStream_t stream) {
  return product.p.by_k ? launch_wgmma<kJ, true, true, true>(product, stream)
                        : launch_wgmma<kJ, false, true, true>(product, stream);
}

bool holds_vectors(const TensorOperand& o) {
  return o.row % kVector == 0 && reinterpret_cast<uintptr_t>(o.data) % 16 == 0;
}

// The kernel is used for these layouts of operands.
constexpr bool kForward = true, kInputGradient = true, kWeightGradient = true;
bool takes_layout(const TensorProduct& product) {
  if (product.q.by_k)
    return product.k_rows == nullptr &&
           (product.p.by_k ? kForward : kInputGradient && product.K <= INT32_MAX);
  return kWeightGradient && !product.p.by_k && product.K <= INT32_MAX &&
         tensor_shards(product.K, product.most_shards).count == 1;
}

}  // namespace

bool wgmma_fits(const TensorProduct& product) {
#ifdef R1_SM90A
  static const bool hopper = device_facts().major == 9;
  return hopper && product.K > 0 && takes_layout(product) && holds_vectors(product.p) &&
         holds_vectors(product.q);
#else
  return false;
#endif
}

bool wgmma_wide_pays(const TensorProduct& product) {
  // The time of a tile is about that of its columns.
  const auto cost = [](int64_t tiles, int64_t columns) {
    const int64_t at_once = multiprocessors();
    return (tiles + at_once - 1) / at_once * columns;
  };
  const int64_t wide = product.q.by_k ? cost(tiles_of<192>(product), 192) : cost(tiles_of<256>(product), 256);
  return wide <= cost(tiles_of<128>(product), 128);
}

void wgmma_product(const TensorProduct& product, bool wide, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  if (!product.q.by_k)
    return wide ? launch_wgmma<256, false, false, false>(product, s)
                : launch_wgmma<128, false, false, false>(product, s);
  return wide ? launch_sharded<192>(product, s) : launch_sharded<128>(product, s);
}

}  // namespace r1::cuda
