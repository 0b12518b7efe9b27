// ops/matmul/tensor_job_sm90.cuh: what a launch of the wgmma kernels computes: products with maps of their operands.
#pragma once

#include <span>

#include "ops/matmul/tensor_launch_cuda.cuh"
#include "ops/matmul/tensor_map_cuda.h"
#include "ops/matmul/tensor_pipeline_sm90.cuh"
#include "ops/matmul/tensor_store_sm90.cuh"

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define R1_HAS_WGMMA 1
#endif

namespace r1::cuda {

inline constexpr int kAligned = 1024;  // bytes, of stages in shared memory

// One of the products of a launch, which share Q and K: its tiles of i begin at first_tile.
struct Part {
  CUtensorMap p, d;
  TensorProduct product;
  int first_tile;
  bool d_mapped;
};
struct Job {
  CUtensorMap q;
  Part parts[kMostProducts];
  int part_count, part_k, shards;  // part_k: k of a shard
  bool halves;                     // shards end in the middle of stages, and lie one behind the other
  int tiles_i, tiles_j, cluster;   // tiles_i is a multiple of cluster
  const TokenChain* chains;        // null: shards
  int chain_count;
  __device__ __forceinline__ int part_of(int tile_i) const {
    int part = 0;
#pragma unroll
    for (int n = 1; n < static_cast<int>(kMostProducts); ++n) {
      if (n < part_count && tile_i >= parts[n].first_tile) part = n;
    }
    return part;
  }
  __host__ __device__ int items() const { return tiles_i / cluster * tiles_j; }
};

// Where tile `number` of rows x across tiles is: kGroupJ tiles of j side by side share their rows of P in the second-level
// cache.
struct TilePlace {
  int i, j;
};
__device__ __forceinline__ TilePlace tile_place(int number, int rows, int across) {
  constexpr int kGroupJ = 8;
  const int group = number / (kGroupJ * rows), place = number % (kGroupJ * rows);
  const int width = min(kGroupJ, across - group * kGroupJ);
  return {place / width, group * kGroupJ + place % width};
}

// The time of tiles that take `each` alone, which is about proportional to their columns. Narrow tiles read more bytes.
inline double tile_cost(int64_t tiles, double each) {
  const int64_t at_once = multiprocessors();
  return static_cast<double>((tiles + at_once - 1) / at_once) * each;
}
inline constexpr double kNarrowCost = 1.15;

// Two blocks share rows of Q, unless this would leave one of them without work too often.
inline int blocks_that_share(int64_t tiles, int64_t pairs) {
  return 16 * tiles >= 15 * 2 * pairs && multiprocessors() % 2 == 0 ? 2 : 1;
}

template <int kJ>
int64_t tiles_across(const TensorProduct& product) {
  return (product.J + kJ - 1) / kJ;
}
inline int64_t tiles_down(const TensorProduct& product) {
  return (product.I + kTileI - 1) / kTileI;
}

// The job of `products`; `cluster` blocks share their rows of Q, of which a tile has kJ. stored: D may go through a map.
template <int kJ>
Job make_job(std::span<const TensorProduct> products, int cluster, bool stored) {
  const TensorProduct& one = products.front();
  const TensorShards shards = tensor_shards(one.K, one.most_shards);
  const int64_t part_k = shards.count == 1 ? one.K : shards.steps * kTensorStep;
  Job job{};
  job.halves = stored && shards.count > 1 && part_k > kTileK && part_k % kTileK == kTileK / 2;
  const auto boxes = [&](int64_t rows, int box_rows, int box_k) {
    return OperandBoxes{.rows = rows,
                        .part = job.halves ? one.K : part_k,
                        .shards = job.halves ? 1 : shards.count,
                        .box_rows = box_rows,
                        .box_k = box_k};
  };
  job.cluster = cluster;
  job.q = operand_map(one.q, boxes(one.J, kJ / cluster, kTileK / cluster));
  for (const TensorProduct& product : products) {
    Part& part = job.parts[job.part_count++];
    part.product = product;
    part.first_tile = job.tiles_i;
    part.p = operand_map(product.p, boxes(product.I, kTileI, kTileK));
    part.d_mapped = stored && output_has_map(product);
    if (part.d_mapped) part.d = output_map(product, box_columns<kJ>(product.d_bf16));
    const auto down = static_cast<int>(tiles_down(product));
    job.tiles_i += (down + cluster - 1) / cluster * cluster;
  }
  job.tiles_j = static_cast<int>(tiles_across<kJ>(one));
  job.part_k = static_cast<int>(part_k), job.shards = static_cast<int>(shards.count);
  return job;
}

inline bool takes_shape(const TensorProduct& product) {
  return product.I <= INT32_MAX && product.J <= INT32_MAX && product.K > 0 && product.K <= INT32_MAX;
}
inline bool on_hopper() {
#ifdef R1_SM90A
  static const bool hopper = device_facts().major == 9;
  return hopper;
#else
  return false;
#endif
}

}  // namespace r1::cuda
