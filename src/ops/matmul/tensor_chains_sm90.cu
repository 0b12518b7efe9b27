// ops/matmul/tensor_chains_sm90.cu: gradients of narrow weights by wgmma, for Hopper GPUs (sm_90a): chains of tokens that
// are added to D in order.
//
// A narrow weight has fewer tiles than the GPU has multiprocessors, so its chains run side by side. An item is one chain
// of one tile; blocks take items in the order of chains. The warps of a block have parts of their own:
//
//   multipliers   two warpgroups sum chains (tensor_pipeline_sm90.cuh) and store them in scratch, as they lie in registers
//   a copier      brings their operands
//   a teller      says in `stored` that a chain is there, once everybody can see it
//   adders        one warpgroup, while the others go on: a warp owns pieces of D, and adds chains to them in order, a few
//                 at a time, as soon as they are there
//
// Only adders wait for other blocks. What they wait for is stored without waiting for anybody, so all end.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/integers.h"
#include "ops/matmul/tensor_job_sm90.cuh"
#include "ops/matmul/tensor_product_sm90.h"
#include "ops/matmul/tensor_store_sm90.cuh"
#include "tensor/cuda.h"
#include "tensor/early_launch_cuda.cuh"

#pragma nv_diag_suppress 177  // without wgmma, most of this file is not used

namespace r1::cuda {
namespace {

constexpr int kChainThreads = kPipelineThreads + 128;
// 128 per thread at the launch.
constexpr int kChainMultiplierRegisters = 176, kAdderRegisters = 120;
static_assert(2 * kChainMultiplierRegisters + kCopierRegisters + kAdderRegisters <= 512);

template <int kJ>
using ChainPipe = Pipeline<kJ, false, false, 225 * 1024 / ((kTileI + kJ) * kTileK * 2)>;

struct ChainJob {
  CUtensorMap p, q;
  TensorProduct product;
  const TokenChain* chains;
  int chain_count, tiles_i, tiles_j, cluster;  // tiles_i is a multiple of cluster
  float4* sums;                                // [chain_count, tiles_i, tiles_j] chains of tiles
  uint32_t* stored;                            // [chain_count, tiles_i, tiles_j] 1: the chain is in `sums`
  __host__ __device__ int tiles() const { return tiles_i * tiles_j; }
  __host__ __device__ int items() const { return tiles() / cluster * chain_count; }
};

// A warp's share of a chain of a tile, 16 x kJ: vector e of lane l is at 32 e + l and holds rows l / 4 (x, y) and
// l / 4 + 8 (z, w), columns 8 e + l % 4 * 2 and the next.
template <int kJ>
constexpr int kShareVectors = 32 * kJ / 8;
template <int kJ>
constexpr int kTileVectors = 4 * kGroups * kShareVectors<kJ>;

struct ChainItem {
  int chain, tile_i, tile_j;
};
__device__ __forceinline__ ChainItem chain_item(const ChainJob& job, int item, uint32_t rank) {
  const int rows = job.tiles_i / job.cluster, tiles = rows * job.tiles_j;
  const TilePlace at = tile_place(item % tiles, rows, job.tiles_j);
  return {item / tiles, at.i * job.cluster + static_cast<int>(rank), at.j};
}
__device__ __forceinline__ int64_t place_of(const ChainJob& job, int chain, int tile_i, int tile_j) {
  return (static_cast<int64_t>(chain) * job.tiles_i + tile_i) * job.tiles_j + tile_j;
}

// The multipliers' part. `summed`: a chain is in scratch; `told`: the teller knows it.
template <int kJ>
__device__ __forceinline__ void store_chains(const ChainJob& job, ChainPipe<kJ>& pipe, uint32_t summed,
                                             uint32_t told, int first, int apart) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  float chain[ChainPipe<kJ>::kCount];
#pragma unroll
  for (float& c : chain) c = 0.0f;
  int parity = 0;
  for (int n = first; n < job.items(); n += apart, parity ^= 1) {
    const ChainItem item = chain_item(job, n, pipe.rank);
    const TokenChain tokens = job.chains[item.chain];
    pipe.sum(chain, {tokens.first, 0, tokens.count}, true);
    float4* const to = job.sums + place_of(job, item.chain, item.tile_i, item.tile_j) * kTileVectors<kJ> +
                       warp * kShareVectors<kJ> + lane;
#pragma unroll
    for (int e = 0; e < kJ / 8; ++e)
      __stcg(to + 32 * e, {chain[4 * e], chain[4 * e + 1], chain[4 * e + 2], chain[4 * e + 3]});
    __syncwarp();
    if (lane == 0) {
      barrier_wait(told, parity ^ 1);  // of the chain before
      barrier_arrive(summed);
    }
  }
}

// The teller's part.
__device__ __forceinline__ void tell_chains(const ChainJob& job, uint32_t rank, uint32_t summed,
                                            uint32_t told, int first, int apart) {
  int parity = 0;
  for (int n = first; n < job.items(); n += apart, parity ^= 1) {
    const ChainItem item = chain_item(job, n, rank);
    barrier_wait(summed, parity);
    barrier_arrive(told);
    uint32_t* const word = job.stored + place_of(job, item.chain, item.tile_i, item.tile_j);
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(word), "r"(1) : "memory");
  }
}

// The adders' part. A piece is 16 x 32 outputs.
template <int kJ>
__device__ __forceinline__ void add_stored(const ChainJob& job) {
  constexpr int kEights = 4, kAtOnce = 4;
  constexpr int kAcross = kJ / (8 * kEights), kPieces = 4 * kGroups * kAcross;
  const TensorProduct& product = job.product;
  const int warp = (static_cast<int>(threadIdx.x) - kPipelineThreads) / 32,
            lane = static_cast<int>(threadIdx.x) % 32;
  const int blocks = static_cast<int>(gridDim.x), pieces = job.tiles() * kPieces;
  for (int chain = 0; chain < job.chain_count; chain += kAtOnce) {
    const int here = min(kAtOnce, job.chain_count - chain);
    for (int piece = warp * blocks + static_cast<int>(blockIdx.x); piece < pieces; piece += 4 * blocks) {
      const int tile = piece / kPieces, down = piece % kPieces / kAcross, across = piece % kAcross;
      const int64_t i0 = static_cast<int64_t>(tile / job.tiles_j) * kTileI + 16 * down,
                    j0 = static_cast<int64_t>(tile % job.tiles_j) * kJ + 8 * kEights * across;
      if (i0 >= product.I || j0 >= product.J) continue;
      if (lane < here) {
        const uint32_t* word = job.stored + static_cast<int64_t>(chain + lane) * job.tiles() + tile;
        uint32_t there = 0;
        do {
          asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(there) : "l"(word) : "memory");
        } while (there == 0);
      }
      __syncwarp();
      const float4* from = job.sums + (static_cast<int64_t>(chain) * job.tiles() + tile) * kTileVectors<kJ> +
                           down * kShareVectors<kJ> + 32 * kEights * across + lane;
      const int64_t i = i0 + lane / 4, j = j0 + lane % 4 * 2;
      auto* const upper = reinterpret_cast<float2*>(static_cast<float*>(product.d) + i * product.d_i + j);
      auto* const lower = upper + 4 * product.d_i;
      const bool has_upper = i < product.I, has_lower = i + 8 < product.I;
      float4 next[kAtOnce][kEights];
      float2 above[kEights], below[kEights];
#pragma unroll
      for (int e = 0; e < kEights; ++e) {
        const bool inside = j + 8 * e < product.J;
        above[e] = load_if(inside && has_upper, upper + 4 * e);
        below[e] = load_if(inside && has_lower, lower + 4 * e);
      }
#pragma unroll
      for (int c = 0; c < kAtOnce; ++c) {
        if (c >= here) break;
#pragma unroll
        for (int e = 0; e < kEights; ++e)
          next[c][e] = __ldcg(from + static_cast<int64_t>(c) * job.tiles() * kTileVectors<kJ> + 32 * e);
      }
#pragma unroll
      for (int c = 0; c < kAtOnce; ++c) {
        if (c >= here) break;
#pragma unroll
        for (int e = 0; e < kEights; ++e) {
          above[e] = {__fadd_rn(above[e].x, next[c][e].x), __fadd_rn(above[e].y, next[c][e].y)};
          below[e] = {__fadd_rn(below[e].x, next[c][e].z), __fadd_rn(below[e].y, next[c][e].w)};
        }
      }
#pragma unroll
      for (int e = 0; e < kEights; ++e) {
        const bool inside = j + 8 * e < product.J;
        store_if(inside && has_upper, upper + 4 * e, above[e]);
        store_if(inside && has_lower, lower + 4 * e, below[e]);
      }
    }
  }
}

template <int kJ>
__global__ void __launch_bounds__(kChainThreads, 1) chain_tiles(const __grid_constant__ ChainJob job) {
#ifdef R1_HAS_WGMMA
  using Pipe = ChainPipe<kJ>;
  extern __shared__ uint8_t chain_stages[];
  __shared__ uint64_t barriers[2 * Pipe::kStages + 2];
  let_next_start();
  const uint32_t stages =
      (static_cast<uint32_t>(__cvta_generic_to_shared(chain_stages)) + kAligned - 1) / kAligned * kAligned;
  const auto full = static_cast<uint32_t>(__cvta_generic_to_shared(barriers));
  const uint32_t summed = full + 16 * Pipe::kStages, told = summed + 8;
  Pipe pipe{stages, full, full + 8 * Pipe::kStages, job.cluster, job.cluster > 1 ? cluster_rank() : 0};
  if (threadIdx.x == 0) {
    barrier_init(summed, 4 * kGroups);
    barrier_init(told, 1);
    pipe.init();
  }
  if (job.cluster > 1) {
    cluster_wait();
  } else {
    __syncthreads();
  }
  await_previous();
  const int first = static_cast<int>(blockIdx.x) / job.cluster,
            apart = static_cast<int>(gridDim.x) / job.cluster;
  if (threadIdx.x >= kPipelineThreads) {
    give_registers<kAdderRegisters>();
    add_stored<kJ>(job);
  } else if (threadIdx.x >= kMultipliers) {
    give_registers<kCopierRegisters>();
    if (threadIdx.x == kMultipliers) {
      for (int n = first; n < job.items(); n += apart) {
        const ChainItem item = chain_item(job, n, pipe.rank);
        const TokenChain tokens = job.chains[item.chain];
        pipe.copy(job.p, job.q, {tokens.first, 0, tokens.count}, item.tile_i * kTileI, item.tile_j * kJ);
      }
    } else if (threadIdx.x == kMultipliers + 32) {
      tell_chains(job, pipe.rank, summed, told, first, apart);
    }
  } else {
    take_registers<kChainMultiplierRegisters>();
    store_chains<kJ>(job, pipe, summed, told, first, apart);
  }
  // No block may end while others read for it or wait for it to read.
  if (job.cluster > 1) cluster_wait();
#endif
}

// Tiles of D [I, J], with those that fill up clusters.
int64_t padded_tiles(int64_t I, int64_t J, int64_t columns) {
  const int64_t down = ceil_div(I, int64_t{kTileI}),
                pair = blocks_that_share(down, ceil_div(down, int64_t{2}));
  return ceil_div(down, pair) * pair * ceil_div(J, columns);
}

template <int kJ>
void launch_chains(const TensorProduct& product, const ChainList& chains, cudaStream_t stream) {
  using Pipe = ChainPipe<kJ>;
  constexpr int kBytes = Pipe::kBytes + kAligned;
  static_assert(Pipe::kStages >= 3 && kBytes <= 226 * 1024, "sm_90 has no more per block");
  ChainJob job{};
  const int64_t down = tiles_down(product);
  job.cluster = blocks_that_share(down, ceil_div(down, int64_t{2}));
  job.product = product;
  job.chains = chains.list, job.chain_count = static_cast<int>(chains.count);
  job.tiles_i = static_cast<int>(ceil_div(down, int64_t{job.cluster})) * job.cluster;
  job.tiles_j = static_cast<int>(tiles_across<kJ>(product));
  job.sums = reinterpret_cast<float4*>(chains.sums), job.stored = chains.words;
  const auto boxes = [&](int64_t rows, int box_rows, int box_k) {
    return OperandBoxes{.rows = rows, .part = product.K, .shards = 1, .box_rows = box_rows, .box_k = box_k};
  };
  job.p = operand_map(product.p, boxes(product.I, kTileI, kTileK));
  job.q = operand_map(product.q, boxes(product.J, kJ / job.cluster, kTileK / job.cluster));
  check(cudaMemsetAsync(job.stored, 0, sizeof(uint32_t) * static_cast<size_t>(job.tiles() * job.chain_count),
                        stream),
        "cudaMemsetAsync");
  const auto kernel = chain_tiles<kJ>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "cudaFuncSetAttribute");
  std::array<cudaLaunchAttribute, 2> attributes{};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {static_cast<unsigned>(job.cluster), 1, 1};
  attributes[1].id = cudaLaunchAttributeCooperative;  // adders wait for blocks, which must be on the device
  attributes[1].val.cooperative = 1;
  cudaLaunchConfig_t config{};
  config.gridDim =
      static_cast<unsigned>(std::min(job.items(), multiprocessors() / job.cluster) * job.cluster);
  config.blockDim = kChainThreads;
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  config.attrs = attributes.data();
  config.numAttrs = attributes.size();
  check(cudaLaunchKernelEx(&config, kernel, job), launch_name(product));
  check_launch(launch_name(product));
}

}  // namespace

ChainPlan wgmma_chains_apart(int64_t N, int64_t K, int64_t columns, int64_t at_once) {
  R1_CHECK(columns == 128 || columns == 192, "tiles of ", columns, " columns");
  const int64_t tiles = padded_tiles(N, K, columns);
  return {.columns = columns,
          .apart = true,
          .at_once = at_once,
          .floats = at_once * tiles * kTileI * columns,
          .words = at_once * tiles};
}

ChainPlan wgmma_chain_plan(int64_t N, int64_t K, int64_t tokens, int64_t count) {
  // In microseconds of an H200: a token's share of a column of a tile, the addition of a chain in registers, the load and
  // the store of a tile of D, the store of a chain in scratch, a number that is written to scratch and read again, and what
  // chains side by side take at the launch and after the last one.
  constexpr double kToken = 5.7e-5, kInRegisters = 0.5, kLoadAndStore = 4, kInScratch = 1.5, kNumber = 2e-6,
                   kOnce = 5;
  constexpr int64_t kMostFloats = int64_t{1} << 26;  // 256 MiB of chains at a time
  const int64_t down = ceil_div(N, int64_t{kTileI});
  const auto all = static_cast<double>(tokens), chains = static_cast<double>(std::max<int64_t>(count, 1));
  ChainPlan plan{.columns = 192};
  double least =
      tile_cost(down * ceil_div(K, int64_t{192}), all * 192 * kToken + chains * kInRegisters + kLoadAndStore);
  const auto offer = [&](int64_t columns, double factor) {
    const int64_t tiles = padded_tiles(N, K, columns);
    const int64_t at_once = std::min(count, kMostFloats / (tiles * kTileI * columns));
    if (at_once < 1) return;
    const double each = all / chains * static_cast<double>(columns) * factor * kToken + kInScratch;
    const double cost =
        static_cast<double>(ceil_div(count, at_once)) * (tile_cost(tiles * at_once, each) + kOnce) +
        chains * static_cast<double>(N) * static_cast<double>(K) * kNumber;
    if (cost >= least) return;
    least = cost;
    plan = wgmma_chains_apart(N, K, columns, at_once);
  };
  if (N == 0 || K == 0) return plan;
  offer(192, 1);
  offer(128, kNarrowCost);
  return plan;
}

void wgmma_add_chains(const TensorProduct& product, const ChainPlan& plan, const ChainList& chains,
                      void* stream) {
  R1_CHECK(wgmma_fits(product) && product.accumulate && !product.q.by_k, "chains of ", product.I, " x ",
           product.J);
  if (!plan.apart) return wgmma_walk_chains(product, chains, stream);
  for (int64_t first = 0; first < chains.count; first += plan.at_once) {
    ChainList here = chains;
    here.list += first, here.count = std::min(plan.at_once, chains.count - first);
    const auto s = static_cast<cudaStream_t>(stream);
    if (plan.columns == 192) {
      launch_chains<192>(product, here, s);
    } else {
      launch_chains<128>(product, here, s);
    }
  }
}

}  // namespace r1::cuda
