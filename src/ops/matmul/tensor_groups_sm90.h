// ops/matmul/tensor_groups_sm90.h: products of experts by wgmma, for Hopper GPUs (sm_90a). Private to this folder and ops/moe.
//
// The rows of Q and D are sorted by expert (TensorGroups), and only the device knows how many rows an expert has. A launch
// computes two products of one Q, gate and up, or one D that is the sum of two products, its gradient by both.
#pragma once

#include <cuda.h>

#include <span>

#include "ops/matmul/tensor_product_cuda.h"

namespace r1::cuda {

// A launch has one product or two of equal I, K, layout and shards. `summed`: the second continues the first one's D, as
// TensorProduct::accumulate has it. maps[n]: the maps of all experts' matrices, the device's, at a multiple of 64 bytes.
// `rows` is the number of rows of Q and D of all experts together, `typical` about how many an expert has.
struct GroupProducts {
  std::span<const TensorProduct> products;
  std::span<const CUtensorMap* const> maps;
  const int64_t* starts = nullptr;  // [experts + 1], the device's
  int64_t experts = 0, rows = 0, typical = 0;
  bool summed = false;
};

// True if this GPU has wgmma and the kernel takes such operands, where all matrices begin at multiples of 16 bytes.
bool wgmma_groups_fit(const TensorProduct& product, int64_t experts);
// The map of a matrix, as the kernel reads it: product.p.data is its address.
CUtensorMap wgmma_group_map(const TensorProduct& product);
void wgmma_group_products(const GroupProducts& call, void* stream);

}  // namespace r1::cuda
