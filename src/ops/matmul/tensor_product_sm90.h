// ops/matmul/tensor_product_sm90.h: the wgmma kernels of tensor_product(). Private to this folder.
#pragma once

#include <span>

#include "ops/matmul/tensor_product_cuda.h"

namespace r1::cuda {

// True if this GPU has wgmma, this build has code for it, and the kernels take the operands: aligned to 16 bytes, without
// k_rows, and not both by rows with more than one shard.
bool wgmma_fits(const TensorProduct& product);
// Products of one Q, one K and one number of shards. `wide`: tiles of 192 columns (256 if neither operand is by k) in
// place of 128.
void wgmma_products(std::span<const TensorProduct> products, bool wide, void* stream);
// True if wide tiles take less time on this GPU.
bool wgmma_wide_pays(const TensorProduct& product);

// For few tiles: the shards of a tile are computed side by side, by the blocks of a cluster. True if the kernel takes the
// operands: both by k and aligned, with more than one shard, and D is the product.
bool wgmma_shards_fit(const TensorProduct& product);
// True if it takes less time than the other kernels, for more rows than few.
bool wgmma_shards_pay(const TensorProduct& product);
void wgmma_shards_products(std::span<const TensorProduct> products, void* stream);

// Products of heads (TensorGroups without starts) of many tokens. True if the kernel takes them: whole stages of K, 64 rows of
// P at a time, and a D that is stored by the copy engine.
bool wgmma_heads_fit(const TensorProduct& product, const TensorGroups& heads);
void wgmma_heads_product(const TensorProduct& product, const TensorGroups& heads, void* stream);

// True if gradients of weights [N, K] whose rows are aligned can go by wgmma_add_chains().
bool wgmma_takes_chains(int64_t N, int64_t K);
// How chains are added to D [N, K]: by blocks that walk all chains of a tile; or, if `apart`, side by side, `at_once` of them
// in a launch, with so much scratch. `columns`: of a tile.
struct ChainPlan {
  int64_t columns = 0;
  bool apart = false;
  int64_t at_once = 0, floats = 0, words = 0;
};
// The plan that takes the least time for `count` chains of `tokens` tokens in all.
ChainPlan wgmma_chain_plan(int64_t N, int64_t K, int64_t tokens, int64_t count);
ChainPlan wgmma_chains_apart(int64_t N, int64_t K, int64_t columns, int64_t at_once);
struct ChainList {
  const TokenChain* list = nullptr;
  int64_t count = 0;
  float* sums = nullptr;  // the plan's scratch
  uint32_t* words = nullptr;
};
// D = D + chain for every chain in order. The lists are the device's.
void wgmma_add_chains(const TensorProduct& product, const ChainPlan& plan, const ChainList& chains,
                      void* stream);
// The same by blocks that walk all chains of a tile, without scratch.
void wgmma_walk_chains(const TensorProduct& product, const ChainList& chains, void* stream);

}  // namespace r1::cuda
