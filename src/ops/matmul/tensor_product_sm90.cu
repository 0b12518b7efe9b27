// ops/matmul/tensor_product_sm90.cu: bf16 products by wgmma, for many rows of Q on Hopper GPUs (sm_90a).
//
// A block stays on its multiprocessor and computes tiles of 128 x kJ outputs, one after the other
// (tensor_pipeline_sm90.cuh). A thread keeps the current chain and, where there are several, the total of those before it
// in registers, as mma.sync has them. Two blocks, which form a cluster, compute neighbouring tiles in i and share their
// rows of Q. Operands that are not by k, weights in dx and both in dW, are read from shared memory as they lie in memory:
// wgmma transposes.
//
// Chains of a gradient that are added to D in order: if there are tiles enough, a block walks all chains of its tile.
// Otherwise the blocks take the first chain of all tiles, then the second, and so on; who has summed chain c of a tile waits
// until chain c - 1 has been added there. Work is taken in that order, so who is waited for has always begun.
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
  if (job.added != nullptr) {
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

// D = D + chain, after the chain before.
template <int kCount>
__device__ __forceinline__ void add_in_turn(const TensorProduct& product, uint32_t* added, int turn,
                                            int64_t i0, int64_t j0, float (&chain)[kCount]) {
  const OutputPlace at;
  if (threadIdx.x % 128 == 0) {
    int seen = 0;
    do {
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(added) : "memory");
    } while (seen != turn);
  }
  named_sync(kGroupBarrier + at.group, 128);
  visit_pairs<kCount>(product, i0, j0, [&](int e, const float2* from, bool inside) {
    const float2 held = load_if(inside, from);
    chain[e] = __fadd_rn(held.x, chain[e]), chain[e + 1] = __fadd_rn(held.y, chain[e + 1]);
  });
  store_outputs<true>(product, i0, j0, chain);
  __threadfence();
  named_sync(kGroupBarrier + at.group, 128);
  if (threadIdx.x % 128 == 0)
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(added), "r"(turn + 1) : "memory");
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

// The multipliers' part. kTotals: an item may have several chains.
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
    } else if (job.added != nullptr) {
      add_in_turn(part.product, job.added + item.tile * kGroups + group, item.begin, i0, item.j0, chain);
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
  uint32_t* added = nullptr;
};

template <int kJ, bool kPByK, bool kQByK, bool kTotals>
void launch_wgmma(std::span<const TensorProduct> products, cudaStream_t stream, const Chains& chains = {}) {
  using Pipe = Pipeline<kJ, kPByK, kQByK, kStagesOf<kJ, kQByK>>;
  constexpr int kBytes = Pipe::kBytes + kStoreRoom<kJ, kQByK> + kAligned;
  static_assert(Pipe::kStages >= 3 && kBytes <= 226 * 1024, "sm_90 has no more per block");
  const TensorProduct& one = products.front();
  Job job = make_job<kJ>(products, cluster_of(products), kQByK);
  job.chains = chains.list, job.chain_count = static_cast<int>(chains.count), job.added = chains.added;
  if (job.added != nullptr)
    check(
        cudaMemsetAsync(job.added, 0,
                        sizeof(uint32_t) * static_cast<size_t>(job.tiles_i * job.tiles_j * kGroups), stream),
        "cudaMemsetAsync");
  const auto kernel = wgmma_tiles<kJ, kPByK, kQByK, kTotals>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "cudaFuncSetAttribute");
  std::array<cudaLaunchAttribute, 2> attributes{};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {static_cast<unsigned>(job.cluster), 1, 1};
  const bool early = one.early && starts_early() && job.added == nullptr;
  if (early) {
    attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[1].val.programmaticStreamSerializationAllowed = 1;
  } else {  // blocks that wait for each other must all be on the device
    attributes[1].id = cudaLaunchAttributeCooperative;
    attributes[1].val.cooperative = 1;
  }
  cudaLaunchConfig_t config{};
  config.gridDim =
      static_cast<unsigned>(std::min(job.items(), multiprocessors() / job.cluster) * job.cluster);
  config.blockDim = kPipelineThreads;
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  config.attrs = attributes.data();
  config.numAttrs = early || job.added != nullptr ? 2 : 1;
  check(cudaLaunchKernelEx(&config, kernel, job), launch_name(one));
  check_launch(launch_name(one));
}

template <int kJ>
void launch_by_k(std::span<const TensorProduct> products, cudaStream_t stream) {
  return products.front().p.by_k ? launch_wgmma<kJ, true, true, true>(products, stream)
                                 : launch_wgmma<kJ, false, true, true>(products, stream);
}

// The time of tiles that take `each` alone, which is about proportional to their columns. Narrow tiles read more bytes.
double tile_cost(int64_t tiles, double each) {
  const int64_t at_once = multiprocessors();
  return static_cast<double>((tiles + at_once - 1) / at_once) * each;
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

int64_t wgmma_chain_words(int64_t N, int64_t K) {
  return (N / kTileI + 2) * (K / 128 + 1) * kGroups;
}

void wgmma_add_chains(const TensorProduct& product, const TokenChain* chains, int64_t count, uint32_t* words,
                      void* stream) {
  R1_CHECK(wgmma_fits(product) && product.accumulate && !product.q.by_k, "chains of ", product.I, " x ",
           product.J);
  if (count == 0) return;
  const auto s = static_cast<cudaStream_t>(stream);
  const int64_t down = tiles_down(product);
  // A tile's walk over all chains, against chains that are handed out one by one and add to D in turn, each waiting for the
  // one before. In microseconds of an H200: a token's share of a column of tiles, an addition in registers, one in memory,
  // and the wait.
  constexpr double kToken = 5.7e-5, kInRegisters = 0.5, kInMemory = 2, kTurn = 7.5;
  const auto chains_each = static_cast<double>(count), tokens = static_cast<double>(product.K);
  const auto in_turn = [&](int64_t tiles, double columns) {
    return std::max(chains_each * kTurn,
                    tile_cost(tiles * count, tokens / chains_each * columns * kToken + kInMemory));
  };
  const double walk = tile_cost(down * tiles_across<192>(product),
                                tokens * 192 * kToken + chains_each * kInRegisters),
               wide = in_turn(down * tiles_across<256>(product), 256),
               narrow = in_turn(down * tiles_across<128>(product), 128 * kNarrowCost);
  if (walk <= wide && walk <= narrow)
    return launch_wgmma<192, false, false, true>({&product, 1}, s, {.list = chains, .count = count});
  const Chains turns{.list = chains, .count = count, .added = words};
  return wide <= narrow ? launch_wgmma<256, false, false, false>({&product, 1}, s, turns)
                        : launch_wgmma<128, false, false, false>({&product, 1}, s, turns);
}

}  // namespace r1::cuda
