// ops/matmul/tensor_product_sm90.cu: bf16 products by wgmma, for many rows of Q on Hopper GPUs (sm_90a).
//
// A block stays on its multiprocessor and computes tiles of 128 x kJ outputs, one after the other
// (tensor_pipeline_sm90.cuh). A thread keeps the current chain and, where there are several, the total of those before it
// in registers, as mma.sync has them. Two blocks, which form a cluster, compute neighbouring tiles in i and share their
// rows of Q. Operands that are not by k, weights in dx and both in dW, are read from shared memory as they lie in memory:
// wgmma transposes.
//
// Chains of a gradient that are added to D in order: if there are tiles enough, a block walks all chains of its tile.
// Otherwise each chain of a tile is work of its own, whose sums go to scratch.
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

// Item `item` of a block: its tile, and its chains.
struct Item {
  int tile, i0, j0, part, begin, end;
};
template <int kJ>
__device__ __forceinline__ Item item_of(const Job& job, int item, uint32_t rank) {
  // kGroupJ tiles of j side by side share their rows of P in the second-level cache.
  constexpr int kGroupJ = 8;
  const int rows = job.tiles_i / job.cluster, tiles = rows * job.tiles_j;
  Item out{};
  if (job.sums != nullptr) {
    out.begin = item / tiles, out.end = out.begin + 1;
    item %= tiles;
  } else {
    out.end = job.chains != nullptr ? job.chain_count : job.shards;
  }
  const int group = item / (kGroupJ * rows), place = item % (kGroupJ * rows);
  const int width = min(kGroupJ, job.tiles_j - group * kGroupJ);
  const int tile_i = place / width * job.cluster + static_cast<int>(rank),
            tile_j = group * kGroupJ + place % width;
  out.part = job.part_of(tile_i);
  out.tile = tile_i * job.tiles_j + tile_j;
  out.i0 = (tile_i - job.parts[out.part].first_tile) * kTileI;
  out.j0 = tile_j * kJ;
  return out;
}
__device__ __forceinline__ ChainAt chain_of(const Job& job, int chain) {
  if (job.chains == nullptr) return {0, chain, job.part_k};
  const TokenChain at = job.chains[chain];
  return {at.first, 0, at.count};
}

template <int kJ>
__device__ __forceinline__ void prefetch_outputs(const Job& job, const Item& item) {
  const Part& part = job.parts[item.part];
  if (!part.d_mapped || !part.product.accumulate) return;
  constexpr int kColumns = kJ / kF32Rounds;  // of a box of D in f32
  for (int i = item.i0; i < min(item.i0 + kTileI, static_cast<int>(part.product.I)); i += 32) {
    for (int j = item.j0; j < min(item.j0 + kJ, static_cast<int>(part.product.J)); j += kColumns)
      prefetch_box(part.d, i, j);
  }
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
  store_outputs<!kQByK>(product, product.d, i0, j0, total);
}

// What the multipliers do. kTotals: an item may have several chains.
template <int kJ, bool kTotals, class Pipe, bool kQByK>
__device__ __forceinline__ void multiply_items(const Job& job, Pipe& pipe, uint32_t buffer, int first,
                                               int apart) {
  constexpr int kCount = Pipe::kCount;
  const int group = static_cast<int>(threadIdx.x) / 128;
  const uint32_t mine = buffer + static_cast<uint32_t>(group) * kStoreBytes<kJ>;
  float chain[kCount], total[kTotals ? kCount : 1];
#pragma unroll
  for (float& c : chain) c = 0.0f;
  for (int n = first; n < job.items(); n += apart) {
    const Item item = item_of<kJ>(job, n, pipe.rank);
    const Part& part = job.parts[item.part];
    const int i0 = item.i0 + 64 * group;
    const bool from_d = part.product.accumulate;
    if constexpr (kTotals) {
      if (from_d && job.chains != nullptr) {
        load_outputs<!kQByK>(part.product, i0, item.j0, total);
      } else {
#pragma unroll
        for (float& t : total) t = -0.0f;  // -0 + x is x, whatever x is
      }
    }
    if (from_d && job.chains == nullptr) load_outputs<!kQByK>(part.product, i0, item.j0, chain);
    for (int c = item.begin; c < item.end; ++c) {
      pipe.sum(chain, chain_of(job, c), !(from_d && job.chains == nullptr && c == 0));
      if constexpr (kTotals) {
#pragma unroll
        for (int e = 0; e < kCount; ++e) total[e] = __fadd_rn(total[e], chain[e]);
      }
    }
    if constexpr (kTotals) {
      store_group<kQByK>(part, mine, i0, item.j0, total);
    } else if (job.sums != nullptr) {
      const TensorProduct& product = part.product;
      store_outputs<true>(product, job.sums + item.begin * product.I * product.d_i, i0, item.j0, chain);
    } else {
      store_group<kQByK>(part, mine, i0, item.j0, chain);
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
        if constexpr (kQByK) {  // chains that begin with D: it is brought nearer a tile ahead
          if (n == first) prefetch_outputs<kJ>(job, item);
          if (n + apart < job.items()) prefetch_outputs<kJ>(job, item_of<kJ>(job, n + apart, pipe.rank));
        }
        for (int c = item.begin; c < item.end; ++c)
          pipe.copy(job.parts[item.part].p, job.q, chain_of(job, c), item.i0, item.j0);
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

// Two blocks share rows of Q, unless this would leave one of them without work too often.
int cluster_of(std::span<const TensorProduct> products) {
  int64_t tiles = 0, pairs = 0;
  for (const TensorProduct& p : products) tiles += tiles_down(p), pairs += (tiles_down(p) + 1) / 2;
  return 16 * tiles >= 15 * 2 * pairs && multiprocessors() % 2 == 0 ? 2 : 1;
}

struct Chains {
  const TokenChain* list = nullptr;
  int64_t count = 0;
  float* sums = nullptr;  // [count, I, J] of the chains; null: they are added to D
};

template <int kJ, bool kPByK, bool kQByK, bool kTotals>
void launch_wgmma(std::span<const TensorProduct> products, cudaStream_t stream, const Chains& chains = {}) {
  using Pipe = Pipeline<kJ, kPByK, kQByK, kStagesOf<kJ, kQByK>>;
  constexpr int kBytes = Pipe::kBytes + kStoreRoom<kJ, kQByK> + kAligned;
  static_assert(Pipe::kStages >= 3 && kBytes <= 226 * 1024, "sm_90 has no more per block");
  const TensorProduct& one = products.front();
  Job job = make_job<kJ>(products, cluster_of(products), kQByK);
  job.chains = chains.list, job.chain_count = static_cast<int>(chains.count), job.sums = chains.sums;
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

// The time of tiles, which is about that of their columns, in units of one column. Narrow tiles read more bytes.
double tile_cost(int64_t tiles, double columns) {
  const int64_t at_once = multiprocessors();
  return static_cast<double>((tiles + at_once - 1) / at_once) * columns;
}
constexpr double kNarrowCost = 1.15;

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

bool wgmma_walk_pays(const TensorProduct& product, int64_t count) {
  const int64_t down = tiles_down(product);
  // In us. A column of tiles takes this long per token; sums in scratch are written and read, and stored by each item.
  constexpr double kColumnToken = 3.8e-5, kByte = 1 / 4.2e6, kStore = 1.5;
  const double tokens = static_cast<double>(product.K) / static_cast<double>(count),
               bytes = 8.0 * static_cast<double>(product.I * product.J * count);
  const double walk = tile_cost(down * tiles_across<192>(product), 192) * static_cast<double>(product.K) *
                      kColumnToken,
               apart = tile_cost(down * tiles_across<256>(product) * count,
                                 256 * tokens * kColumnToken + kStore) +
                       bytes * kByte;
  return walk <= apart;
}

void wgmma_walk_chains(const TensorProduct& product, const TokenChain* chains, int64_t count, void* stream) {
  R1_CHECK(wgmma_fits(product) && product.accumulate && !product.q.by_k && count > 0, "chains of ", product.I,
           " x ", product.J);
  launch_wgmma<192, false, false, true>({&product, 1}, static_cast<cudaStream_t>(stream),
                                        {.list = chains, .count = count});
}

void wgmma_sum_chains(const TensorProduct& product, const TokenChain* chains, int64_t count, float* sums,
                      void* stream) {
  TensorProduct one = product;  // `sums` lie as D, without gaps
  one.accumulate = false;
  one.d_i = product.J;
  one.d = sums;
  R1_CHECK(wgmma_fits(one) && !one.q.by_k && count > 0, "chains of ", product.I, " x ", product.J);
  const auto s = static_cast<cudaStream_t>(stream);
  const Chains apart{.list = chains, .count = count, .sums = sums};
  const int64_t down = tiles_down(product) * count;
  const bool wide = tile_cost(down * tiles_across<256>(product), 256) <=
                    tile_cost(down * tiles_across<128>(product), 128 * kNarrowCost);
  return wide ? launch_wgmma<256, false, false, false>({&one, 1}, s, apart)
              : launch_wgmma<128, false, false, false>({&one, 1}, s, apart);
}

}  // namespace r1::cuda
