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
  int tiles_i, tiles_j, cluster;   // tiles_i is a multiple of cluster
  const TokenChain* chains;        // null: shards
  int chain_count;
  uint32_t*
      added;  // [tiles_i, tiles_j, kGroups] chains that were added to D; or null: a block walks all chains
  __device__ __forceinline__ int part_of(int tile_i) const {
    int part = 0;
#pragma unroll
    for (int n = 1; n < static_cast<int>(kMostProducts); ++n) {
      if (n < part_count && tile_i >= parts[n].first_tile) part = n;
    }
    return part;
  }
  __host__ __device__ int items() const {
    return tiles_i / cluster * tiles_j * (added != nullptr ? chain_count : 1);
  }
};

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
  const auto boxes = [&](int64_t rows, int box_rows, int box_k) {
    return OperandBoxes{
        .rows = rows, .part = part_k, .shards = shards.count, .box_rows = box_rows, .box_k = box_k};
  };
  Job job{};
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
