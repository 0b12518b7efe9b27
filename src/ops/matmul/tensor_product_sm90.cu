// ops/matmul/tensor_product_sm90.cu: bf16 products by wgmma, for many rows of Q on Hopper GPUs (sm_90a).
//
// A block stays on its multiprocessor and computes tiles of 128 x kJ outputs, one after the other
// (tensor_pipeline_sm90.cuh). A thread keeps the current chain and, where there are several, the total of those before it
// in registers, as mma.sync has them. Two blocks, which form a cluster, compute neighbouring tiles in i and share their
// rows of Q. Operands that are not by k, weights in dx and both in dW, are read from shared memory as they lie in memory:
// wgmma transposes.
//
// Chains of a gradient that are added to D in order: a block walks all chains of its tile. tensor_chains_sm90.cu is for
// weights with few tiles.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "ops/matmul/tensor_job_sm90.cuh"
#include "ops/matmul/tensor_product_sm90.h"
#include "ops/matmul/tensor_store_sm90.cuh"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

#pragma nv_diag_suppress 177  // without wgmma, most of this file is not used

namespace r1::cuda {
namespace {

// Stages of kJ columns; products of P by k and dx also need room for D. sm_90 has 227 KiB per block.
template <int kJ, bool kQByK>
constexpr int kStoreRoom = kQByK ? kGroups * kStoreBytes<kJ> : 0;
template <int kJ, bool kQByK>
constexpr int kStagesOf = (225 * 1024 - kStoreRoom<kJ, kQByK>) / ((kTileI + kJ) * kTileK * 2);

// Item `item` of a block: its tile, and how many chains it has.
struct Item {
  int i0, j0, part, chains;
};
template <int kJ>
__device__ __forceinline__ Item item_of(const Job& job, int item, uint32_t rank) {
  const TilePlace at = tile_place(item, job.tiles_i / job.cluster, job.tiles_j);
  const int tile_i = at.i * job.cluster + static_cast<int>(rank), part = job.part_of(tile_i);
  return {(tile_i - job.parts[part].first_tile) * kTileI, at.j * kJ, part,
          job.chains != nullptr ? job.chain_count : job.shards};
}
__device__ __forceinline__ ChainAt chain_of(const Job& job, int chain) {
  if (job.chains == nullptr) return {0, chain, job.part_k};
  const TokenChain at = job.chains[chain];
  return {at.first, 0, at.count};
}

// Brings D of an item, which sums begin with, into the second-level cache.
template <int kJ, bool kQByK>
__device__ __forceinline__ void prefetch_item(const Job& job, int item, uint32_t rank) {
  if (item >= job.items()) return;
  const Item next = item_of<kJ>(job, item, rank);
  const Part& part = job.parts[next.part];
  if (!part.product.accumulate || next.i0 >= part.product.I) return;
  prefetch_outputs<kJ, !kQByK>(part.product, part.d_mapped ? &part.d : nullptr, next.i0, next.j0);
}

// Stores a warpgroup's outputs.
template <bool kQByK, int kCount>
__device__ __forceinline__ void store_group(const Part& part, uint32_t buffer, int i0, int j0,
                                            float (&total)[kCount]) {
  const TensorProduct& product = part.product;
  if constexpr (kQByK) {
    if (product.gradients != nullptr) to_gradients(product, i0, j0, total);
    if (product.bias != nullptr) add_biases(product, i0, total);
    if (part.d_mapped && product.d_bf16) return store_bf16(part.d, buffer, i0, j0, total);
    if (part.d_mapped) return store_f32(part.d, buffer, i0, j0, total);
  }
  store_outputs<!kQByK>(product, i0, j0, total);
}

// Loads D where an item's sums begin with it. Returns true if they do.
template <int kJ, bool kQByK, int kCount>
__device__ __forceinline__ bool load_item(const Job& job, int item, uint32_t rank, float (&to)[kCount]) {
  if (item >= job.items()) return false;
  const Item at = item_of<kJ>(job, item, rank);
  const TensorProduct& product = job.parts[at.part].product;
  if (!product.accumulate) return false;
  load_outputs<!kQByK>(product, at.i0 + 64 * static_cast<int>(threadIdx.x / 128), at.j0, to);
  return true;
}

// The multipliers' part. kTotals: an item may have several chains, of shards or, in the gradient of a weight, of tokens;
// sums of shards begin with D in the first chain.
template <int kJ, bool kTotals, class Pipe, bool kQByK>
__device__ __forceinline__ void multiply_items(const Job& job, Pipe& pipe, uint32_t buffer, int first,
                                               int apart) {
  constexpr int kCount = Pipe::kCount;
  constexpr bool kWalk = kTotals && !kQByK;
  const int group = static_cast<int>(threadIdx.x) / 128;
  const uint32_t mine = buffer + static_cast<uint32_t>(group) * kStoreBytes<kJ>;
  float chain[kCount], total[kTotals ? kCount : 1];
#pragma unroll
  for (float& c : chain) c = 0.0f;
  bool from_d = !kWalk && load_item<kJ, kQByK>(job, first, pipe.rank, chain);
  for (int n = first; n < job.items(); n += apart) {
    const Item item = item_of<kJ>(job, n, pipe.rank);
    const Part& part = job.parts[item.part];
    const int i0 = item.i0 + 64 * group;
    if constexpr (kTotals) {
#pragma unroll
      for (float& t : total) t = -0.0f;  // -0 + x is x, whatever x is
    }
    if constexpr (kWalk) load_item<kJ, kQByK>(job, n, pipe.rank, total);
    for (int c = 0; c < item.chains; ++c) {
      const bool fresh = !from_d || c > 0;
      if (kQByK && job.halves) {
        pipe.sum_with_half(chain, job.part_k / kTileK, c % 2 == 1, fresh);
      } else {
        pipe.sum(chain, chain_of(job, c), fresh);
      }
      if constexpr (kTotals) {
#pragma unroll
        for (int e = 0; e < kCount; ++e) total[e] = __fadd_rn(total[e], chain[e]);
      }
    }
    if constexpr (kTotals) {
      // D of the next item arrives while this one is stored.
      if constexpr (!kWalk) from_d = load_item<kJ, kQByK>(job, n + apart, pipe.rank, chain);
      store_group<kQByK>(part, mine, i0, item.j0, total);
    } else {
      store_group<kQByK>(part, mine, i0, item.j0, chain);
      from_d = load_item<kJ, kQByK>(job, n + apart, pipe.rank, chain);
    }
  }
  if (threadIdx.x % 64 == 0) store_wait<0>();
}

template <int kJ, bool kPByK, bool kQByK, bool kTotals>
__global__ void __launch_bounds__(kPipelineThreads, 1) wgmma_tiles(const __grid_constant__ Job job) {
#ifdef R1_HAS_WGMMA
  using Pipe = Pipeline<kJ, kPByK, kQByK, kStagesOf<kJ, kQByK>>;
  extern __shared__ uint8_t wgmma_stages[];
  __shared__ uint64_t barriers[2 * Pipe::kStages];
  let_next_start();
  const uint32_t stages =
      (static_cast<uint32_t>(__cvta_generic_to_shared(wgmma_stages)) + kAligned - 1) / kAligned * kAligned;
  const auto full = static_cast<uint32_t>(__cvta_generic_to_shared(barriers));
  Pipe pipe{stages, full, full + 8 * Pipe::kStages, job.cluster, job.cluster > 1 ? cluster_rank() : 0};
  if (threadIdx.x == 0) pipe.init();
  if (job.cluster > 1) {
    cluster_wait();
  } else {
    __syncthreads();
  }
  await_previous();
  const int first = static_cast<int>(blockIdx.x) / job.cluster,
            apart = static_cast<int>(gridDim.x) / job.cluster;
  if (threadIdx.x >= kMultipliers) {
    give_registers<kCopierRegisters>();
    if (threadIdx.x == kMultipliers) {
      for (int n = first; n < job.items(); n += apart) {
        const Item item = item_of<kJ>(job, n, pipe.rank);
        const int chains = job.halves ? 1 : item.chains;
        for (int c = 0; c < chains; ++c) {
          if (c + 1 == chains) prefetch_item<kJ, kQByK>(job, n + apart, pipe.rank);
          const ChainAt chain = job.halves ? ChainAt{0, 0, job.part_k * job.shards} : chain_of(job, c);
          pipe.copy(job.parts[item.part].p, job.q, chain, item.i0, item.j0);
        }
      }
    }
  } else {
    take_registers<kMultiplierRegisters>();
    multiply_items<kJ, kTotals, Pipe, kQByK>(job, pipe, stages + Pipe::kBytes, first, apart);
  }
  // No block may end while others read for it or wait for it to read.
  if (job.cluster > 1) cluster_wait();
#endif
}

int cluster_of(std::span<const TensorProduct> products) {
  int64_t tiles = 0, pairs = 0;
  for (const TensorProduct& p : products) tiles += tiles_down(p), pairs += (tiles_down(p) + 1) / 2;
  return blocks_that_share(tiles, pairs);
}

template <int kJ, bool kPByK, bool kQByK, bool kTotals>
void launch_wgmma(std::span<const TensorProduct> products, cudaStream_t stream,
                  const ChainList& chains = {}) {
  using Pipe = Pipeline<kJ, kPByK, kQByK, kStagesOf<kJ, kQByK>>;
  constexpr int kBytes = Pipe::kBytes + kStoreRoom<kJ, kQByK> + kAligned;
  static_assert(Pipe::kStages >= 3 && kBytes <= 226 * 1024, "sm_90 has no more per block");
  const TensorProduct& one = products.front();
  Job job = make_job<kJ>(products, cluster_of(products), kQByK);
  job.chains = chains.list, job.chain_count = static_cast<int>(chains.count);
  const auto kernel = wgmma_tiles<kJ, kPByK, kQByK, kTotals>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "cudaFuncSetAttribute");
  std::array<cudaLaunchAttribute, 2> attributes{};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {static_cast<unsigned>(job.cluster), 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim =
      static_cast<unsigned>(std::min(job.items(), multiprocessors() / job.cluster) * job.cluster);
  config.blockDim = kPipelineThreads;
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  config.attrs = attributes.data();
  config.numAttrs = one.early && starts_early() ? 2 : 1;
  check(cudaLaunchKernelEx(&config, kernel, job), launch_name(one));
  check_launch(launch_name(one));
}

template <int kJ>
void launch_by_k(std::span<const TensorProduct> products, cudaStream_t stream) {
  return products.front().p.by_k ? launch_wgmma<kJ, true, true, true>(products, stream)
                                 : launch_wgmma<kJ, false, true, true>(products, stream);
}

}  // namespace

bool wgmma_fits(const TensorProduct& product) {
  const bool layout = product.q.by_k || (!product.p.by_k && takes_pairs(product) && product.bias == nullptr &&
                                         tensor_shards(product.K, product.most_shards).count == 1);
  return on_hopper() && takes_shape(product) && layout && product.k_rows == nullptr &&
         takes_vectors(product.p) && takes_vectors(product.q);
}

bool wgmma_wide_pays(const TensorProduct& product) {
  const int64_t down = tiles_down(product);
  if (!product.q.by_k)
    return tile_cost(down * tiles_across<256>(product), 256) <=
           tile_cost(down * tiles_across<128>(product), 128 * kNarrowCost);
  return tile_cost(down * tiles_across<192>(product), 192) <=
         tile_cost(down * tiles_across<128>(product), 128 * kNarrowCost);
}

void wgmma_products(std::span<const TensorProduct> products, bool wide, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  if (!products.front().q.by_k)
    return wide ? launch_wgmma<256, false, false, false>(products, s)
                : launch_wgmma<128, false, false, false>(products, s);
  return wide ? launch_by_k<192>(products, s) : launch_by_k<128>(products, s);
}

bool wgmma_takes_chains(int64_t N, int64_t K) {
  return on_hopper() && N % kVector == 0 && K % kVector == 0;
}

void wgmma_walk_chains(const TensorProduct& product, const ChainList& chains, void* stream) {
  launch_wgmma<192, false, false, true>({&product, 1}, static_cast<cudaStream_t>(stream), chains);
}

}  // namespace r1::cuda
