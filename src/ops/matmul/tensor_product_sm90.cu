// ops/matmul/tensor_product_sm90.cu: bf16 products by wgmma, for many rows of Q on Hopper GPUs (sm_90a).
//
// A block of two warpgroups computes 128 x kJ outputs. cp.async fills stages of 64 k, two ahead of which
// wgmma still reads; while one stage is multiplied, the next ones arrive. Chains and totals are those of
// mma.sync, register by register.
#include <cuda_pipeline.h>

#include <algorithm>

#include "base/error.h"
#include "ops/matmul/tensor_product_sm90.h"
#include "ops/matmul/tensor_tile_cuda.cuh"
#include "ops/matmul/wgmma_cuda.cuh"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int kGroups = 2, kThreads = 128 * kGroups;
constexpr int kI = 64 * kGroups;

template <int kJ>
constexpr int kStagesOf = kJ == 128 ? 6 : 5;
template <int kJ>
constexpr int kBytesOf = kStagesOf<kJ> * (kI + kJ) * kTileK * 2;
static_assert(kBytesOf<128> <= 227 * 1024 && kBytesOf<192> <= 227 * 1024, "sm_90 has no more per block");

// Rows [row0, row0 + kRows) and k [k0, k0 + kTileK) as core matrices; what does not exist becomes zeros.
// Eight neighbours copy eight rows, so that they write 128 bytes in a row.
template <int kRows>
__device__ __forceinline__ void copy_cores(uint8_t* tile, const TensorOperand& from, int64_t row0,
                                           int64_t rows, int64_t k0, int64_t end) {
  constexpr int kVectors = kTileK / kVector;
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kVectors; i += kThreads) {
    const int vector = i / 8 % kVectors, row = i / (8 * kVectors) * 8 + i % 8;
    const int64_t k = k0 + vector * kVector;
    const bool inside = row0 + row < rows && k < end;
    copy_vector(reinterpret_cast<uint16_t*>(tile + core_place(kRows, row, vector * 16)),
                inside ? from.data + (row0 + row) * from.row + k : from.data, inside ? end - k : 0, true);
  }
}

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define R1_HAS_WGMMA 1
#endif

template <int kJ>
__global__ void __launch_bounds__(kThreads, 1) wgmma_tiles(TensorProduct product, TensorShards shards) {
#ifdef R1_HAS_WGMMA
  constexpr int kStages = kStagesOf<kJ>, kP = kI * kTileK * 2, kStageBytes = (kI + kJ) * kTileK * 2;
  constexpr int kCount = kJ / 2;  // outputs of a thread
  constexpr int64_t kGroupJ = 8;
  extern __shared__ __align__(128) uint8_t wgmma_stages[];
  const int64_t tiles_i = (product.I + kI - 1) / kI, tiles_j = (product.J + kJ - 1) / kJ;
  // kGroupJ tiles of j side by side share their rows of P in the second-level cache.
  const int64_t group = blockIdx.x / (kGroupJ * tiles_i), place = blockIdx.x % (kGroupJ * tiles_i);
  const int64_t width = min(kGroupJ, tiles_j - group * kGroupJ);
  const int64_t i0 = place / width * kI, j0 = (group * kGroupJ + place % width) * kJ;
  const int warpgroup = static_cast<int>(threadIdx.x) / 128;

  const int64_t stages_each = (shards.steps + kTileSteps - 1) / kTileSteps,
                stages = stages_each * shards.count;
  const auto copy = [&](int64_t stage) {
    if (stage < stages) {
      const int64_t begin = stage / stages_each * shards.steps * kTensorStep;
      const int64_t end = min(begin + shards.steps * kTensorStep, product.K);
      const int64_t k0 = begin + stage % stages_each * kTileK;
      uint8_t* to = wgmma_stages + stage % kStages * kStageBytes;
      copy_cores<kI>(to, product.p, i0, product.I, k0, end);
      copy_cores<kJ>(to + kP, product.q, j0, product.J, k0, end);
    }
    __pipeline_commit();
  };
  constexpr int kAhead = kStages - 2;
  for (int64_t s = 0; s < kAhead; ++s) copy(s);

  float chain[kCount], total[kCount];
#pragma unroll
  for (int e = 0; e < kCount; ++e) total[e] = -0.0f;  // -0 + x is x, whatever x is
  int64_t stage = 0;
  for (int64_t shard = 0; shard < shards.count; ++shard) {
#pragma unroll
    for (int e = 0; e < kCount; ++e) chain[e] = 0.0f;
    for (int64_t s = 0; s < stages_each; ++s, ++stage) {
      __pipeline_wait_prior(kAhead - 1);
      wgmma_wait<1>();  // the stage before the last is read
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
      __syncthreads();
      copy(stage + kAhead);  // into the stage before the last
      const auto at =
          static_cast<uint32_t>(__cvta_generic_to_shared(wgmma_stages + stage % kStages * kStageBytes));
      wgmma_fence();
      // Steps past the end of the shard add zeros. Branches around wgmma would make its instructions wait for
      // each other.
#pragma unroll
      for (int step = 0; step < kTileSteps; ++step) {
        const int p = core_place(kI, 64 * warpgroup, 32 * step), q = kP + core_place(kJ, 0, 32 * step);
        Wgmma<kJ>::run(chain, core_descriptor(at + static_cast<uint32_t>(p), kI),
                       core_descriptor(at + static_cast<uint32_t>(q), kJ));
      }
      wgmma_commit();
    }
    wgmma_wait<0>();
    wgmma_hold(chain);
#pragma unroll
    for (int e = 0; e < kCount; ++e) total[e] = __fadd_rn(total[e], chain[e]);
  }

  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t first_i = i0 + threadIdx.x / 32 * 16 + lane / 4, first_j = j0 + lane % 4 * 2;
#pragma unroll
  for (int e = 0; e < kCount; ++e) {
    const int64_t i = first_i + e / 2 % 2 * 8, j = first_j + e / 4 * 8 + e % 2;
    if (i < product.I && j < product.J) store_total(product, i, j, total[e]);
  }
#endif
}

template <int kJ>
int64_t tiles_of(const TensorProduct& product) {
  return (product.I + kI - 1) / kI * ((product.J + kJ - 1) / kJ);
}

template <int kJ>
void launch_wgmma(const TensorProduct& product, cudaStream_t stream) {
  const auto kernel = wgmma_tiles<kJ>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytesOf<kJ>),
        "cudaFuncSetAttribute");
  kernel<<<static_cast<unsigned>(tiles_of<kJ>(product)), kThreads, kBytesOf<kJ>, stream>>>(
      product, tensor_shards(product.K, product.most_shards));
  check_launch("wgmma_tiles");
}

bool holds_vectors(const TensorOperand& o) {
  return o.row % kVector == 0 && reinterpret_cast<uintptr_t>(o.data) % 16 == 0;
}

}  // namespace

bool wgmma_fits(const TensorProduct& product) {
#ifdef R1_SM90A
  static const bool hopper = device_facts().major == 9;
  return hopper && product.K > 0 && product.p.by_k && product.q.by_k && !product.accumulate &&
         holds_vectors(product.p) && holds_vectors(product.q);
#else
  return false;
#endif
}

void wgmma_product(const TensorProduct& product, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  // The time of a tile is about that of its columns.
  const auto cost = [](int64_t tiles, int64_t columns) {
    const int64_t at_once = multiprocessors();
    return (tiles + at_once - 1) / at_once * columns;
  };
  if (cost(tiles_of<192>(product), 192) < cost(tiles_of<128>(product), 128))
    return launch_wgmma<192>(product, s);
  launch_wgmma<128>(product, s);
}

}  // namespace r1::cuda
