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

// True if the chains of gradients of weights [N, K], whose rows are aligned, can go by the following.
bool wgmma_takes_chains(int64_t N, int64_t K);
// D = D + chain for every chain in order, and true if this takes less time than the sums of each chain [count, I, J] in
// scratch, which are still to be added. `chains` are the device's.
void wgmma_walk_chains(const TensorProduct& product, const TokenChain* chains, int64_t count, void* stream);
bool wgmma_walk_pays(const TensorProduct& product, int64_t count);
void wgmma_sum_chains(const TensorProduct& product, const TokenChain* chains, int64_t count, float* sums,
                      void* stream);

}  // namespace r1::cuda
