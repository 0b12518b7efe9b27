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

#pragma nv_diag_suppress 177  // without wgmma, most of this file is not used

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
constexpr int kBytesOf = kStagesOf<kJ> * kStageBytes<kJ> + kAligned;
static_assert(kBytesOf<128> <= 226 * 1024 && kBytesOf<192> <= 226 * 1024 && kBytesOf<256> <= 226 * 1024,
              "sm_90 has no more per block");

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define R1_HAS_WGMMA 1
#endif

// The place of a stage in K: [k0, end), of which at most 64 k exist.
struct Stage {
  int64_t k0, end;
};
// A chain's k, and the stages that it takes.
struct ChainRange {
  int64_t begin, end, stages;
  __device__ __forceinline__ Stage at(int64_t stage) const { return {begin + stage * kTileK, end}; }
};
// The chains of an item of work: the shards of a tile; or, of a product over tokens that is split, one chain of the tile.
template <bool kSplits>
__device__ __forceinline__ ChainRange chain_range(const TensorProduct& product, const TensorShards& shards,
                                                  const TensorSplits& splits, int64_t split, int64_t shard) {
  int64_t begin = shard * shards.steps * kTensorStep, end = begin + shards.steps * kTensorStep;
  if (kSplits && splits.count > 0)
    begin = splits.starts[split] * kTensorStep, end = splits.starts[split + 1] * kTensorStep;
  end = min(end, product.K);
  return {begin, end, (end - begin + kTileK - 1) / kTileK};
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

// Calls visit(e, address) for a thread's outputs of f32, all of which exist, with few instructions per address. Returns
// false if some do not exist, or if D does not lie row by row in i or in j.
template <int kCount, class Visit>
__device__ __forceinline__ bool visit_whole(const TensorProduct& product, int64_t i0, int64_t j0,
                                            const Visit& visit) {
  if (product.d_bf16 || i0 + 16 > product.I || j0 + 2 * kCount > product.J) return false;
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  auto* const d = static_cast<float*>(product.d);
  if (product.d_i == 1) {
    float* at = d + i0 + g + (j0 + 2 * t) * product.d_j;
#pragma unroll
    for (int b = 0; b < kCount / 4; ++b, at += 8 * product.d_j) {
      float* const right = at + product.d_j;
      visit(4 * b, at), visit(4 * b + 1, right), visit(4 * b + 2, at + 8), visit(4 * b + 3, right + 8);
    }
    return true;
  }
  if (product.d_j != 1) return false;
  float* const upper = d + (i0 + g) * product.d_i + j0 + 2 * t;
  float* const lower = upper + 8 * product.d_i;
#pragma unroll
  for (int b = 0; b < kCount / 4; ++b) {
    visit(4 * b, upper + 8 * b), visit(4 * b + 1, upper + 8 * b + 1);
    visit(4 * b + 2, lower + 8 * b), visit(4 * b + 3, lower + 8 * b + 1);
  }
  return true;
}

// Turns a warp's logits into gradients.
template <int kCount>
__device__ __forceinline__ void to_gradients(const TensorProduct& product, int64_t i0, int64_t j0,
                                             float (&total)[kCount]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int e = 0; e < kCount; ++e)
    total[e] = gradient_of(product, i0 + g + e / 2 % 2 * 8, j0 + e / 4 * 8 + 2 * t + e % 2, total[e]);
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
  if (product.bias == nullptr &&
      visit_whole<kCount>(product, i0, j0, [&](int e, float* at) { *at = total[e]; }))
    return;
#pragma unroll
  for (int e = 0; e < kCount; ++e) {
    const int64_t i = i0 + g + e / 2 % 2 * 8, j = j0 + e / 4 * 8 + 2 * t + e % 2;
    if (i < product.I && j < product.J) store_total(product, i, j, total[e]);
  }
}

// Stores a warp's chain of a product that is split, row by row.
template <int kCount>
__device__ __forceinline__ void store_chain(const TensorProduct& product, float* d, int64_t i0, int64_t j0,
                                            const float (&chain)[kCount]) {
  forget(i0), forget(j0);
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t i = i0 + g + 8 * half;
    if (i >= product.I) continue;
    float* const row = d + i * product.d_i + j0 + 2 * t;
#pragma unroll
    for (int b = 0; b < kCount / 4; ++b) {  // J is even
      if (j0 + 8 * b + 2 * t < product.J)
        *reinterpret_cast<float2*>(row + 8 * b) = {chain[4 * b + 2 * half], chain[4 * b + 2 * half + 1]};
    }
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
  if (visit_whole<kCount>(product, i0, j0, [&](int e, const float* at) { chain[e] = *at; })) return;
#pragma unroll
  for (int e = 0; e < kCount; ++e) {
    const int64_t i = i0 + g + e / 2 % 2 * 8, j = j0 + e / 4 * 8 + 2 * t + e % 2;
    if (i < product.I && j < product.J)
      chain[e] = static_cast<const float*>(product.d)[i * product.d_i + j * product.d_j];
  }
}

template <int kJ, bool kPByK, bool kQByK, bool kSharded>
__global__ void __launch_bounds__(kThreads, 1)
    wgmma_tiles(const __grid_constant__ TensorProduct product, TensorShards shards, TensorSplits splits,
                int64_t tiles) {
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
  const int64_t items = kQByK ? tiles : tiles * max(splits.count, int64_t{1});
  // Shards are of one length, which the loops of products by k keep in a register; chains of a split product are not.
  const int64_t stages_each = (shards.steps + kTileSteps - 1) / kTileSteps;
  Turn<kStages> turn;
  if (threadIdx.x >= 128 * kGroups) {
    give_registers<kCopierRegisters>();
    const int copier = static_cast<int>(threadIdx.x) - 128 * kGroups;
    int32_t lines[kTurns] = {}, next[kTurns] = {};
    const auto range_of = [&](int64_t item, int64_t shard) {
      return chain_range<!kQByK>(product, shards, splits, kQByK ? 0 : item / tiles, shard);
    };
    const auto stage_in = [&](const ChainRange& range, int64_t shard, int64_t stage) {
      if constexpr (!kQByK) return range.at(stage);
      const int64_t begin = shard * shards.steps * kTensorStep;
      return Stage{begin + stage * kTileK, min(begin + shards.steps * kTensorStep, product.K)};
    };
    if constexpr (!kPByK) {
      if (blockIdx.x < items) rows_of_k(product, range_of(blockIdx.x, 0).at(0), copier, next);
    }
    for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
      int64_t i0 = 0, j0 = 0;
      place_of_tile<kJ>(product, kQByK ? item : item % tiles, &i0, &j0);
      int64_t shard = 0, in_shard = 0;
      ChainRange range{};
      if constexpr (!kQByK) range = range_of(item, 0);
      while (shard < shards.count) {
        const Stage here = stage_in(range, shard, in_shard);
        if (++in_shard >= (kQByK ? stages_each : range.stages)) {
          in_shard = 0, ++shard;
          if constexpr (!kQByK) {
            if (shard < shards.count) range = range_of(item, shard);
          }
        }
        if constexpr (!kPByK) {
#pragma unroll
          for (int l = 0; l < kTurns; ++l) lines[l] = next[l];
          // The next stage's are read before it waits; those after an item's last are the next item's first.
          if (shard < shards.count) {
            rows_of_k(product, stage_in(range, shard, in_shard), copier, next);
          } else if (item + gridDim.x < items) {
            rows_of_k(product, range_of(item + gridDim.x, 0).at(0), copier, next);
          }
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
    for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
      int64_t i0 = 0, j0 = 0;
      place_of_tile<kJ>(product, kQByK ? item : item % tiles, &i0, &j0);
      i0 += 16 * warp;
      float chain[kCount], total[kSharded ? kCount : 1];
      if constexpr (kSharded) {
#pragma unroll
        for (int e = 0; e < kCount; ++e) total[e] = -0.0f;  // -0 + x is x, whatever x is
      }
      load_warp(product, i0, j0, chain);
      for (int64_t shard = 0; shard < shards.count; ++shard) {
        int64_t stages_here = stages_each;
        if constexpr (!kQByK)
          stages_here = chain_range<true>(product, shards, splits, item / tiles, shard).stages;
        for (int64_t s = 0; s < stages_here; ++s) {
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
        if constexpr (kPByK) {
          if (product.gradients != nullptr) to_gradients(product, i0, j0, total);
        }
        store_warp(product, i0, j0, total);
      } else if (splits.count > 0) {
        store_chain(product, static_cast<float*>(product.d) + item / tiles * splits.d, i0, j0, chain);
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
void launch_wgmma(const TensorProduct& product, cudaStream_t stream, const TensorSplits& splits = {}) {
  const auto kernel = wgmma_tiles<kJ, kPByK, kQByK, kSharded>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytesOf<kJ>),
        "cudaFuncSetAttribute");
  const int64_t tiles = tiles_of<kJ>(product), items = tiles * std::max(splits.count, int64_t{1});
  const int64_t blocks = std::min<int64_t>(items, multiprocessors());
  kernel<<<static_cast<unsigned>(blocks), kThreads, kBytesOf<kJ>, stream>>>(
      product, tensor_shards(product.K, product.most_shards), splits, tiles);
  check_launch(launch_name(product));
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

bool wgmma_takes_splits(const TensorProduct& product) {
  return wgmma_fits(product) && !product.q.by_k && !product.accumulate && product.d_j == 1 &&
         product.J % 2 == 0 && product.d_i % 2 == 0 && reinterpret_cast<uintptr_t>(product.d) % 8 == 0;
}

void wgmma_split_product(const TensorProduct& product, const TensorSplits& splits, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  // Tiles of 128 x 256 read the least; narrow products would waste half of them.
  const bool wide = product.J % 256 == 0 || product.J > 512;
  return wide ? launch_wgmma<256, false, false, false>(product, s, splits)
              : launch_wgmma<128, false, false, false>(product, s, splits);
}

}  // namespace r1::cuda
