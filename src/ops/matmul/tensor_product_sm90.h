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

// True if gradients of weights [N, K] whose rows are aligned can go by wgmma_add_chains().
bool wgmma_takes_chains(int64_t N, int64_t K);
// D = D + chain for every chain in order: add_chains() of tensor_product_cuda.h. `words` are wgmma_chain_words() of scratch.
void wgmma_add_chains(const TensorProduct& product, const TokenChain* chains, int64_t count, uint32_t* words,
                      void* stream);
int64_t wgmma_chain_words(int64_t N, int64_t K);

}  // namespace r1::cuda
