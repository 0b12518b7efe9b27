// ops/matmul/tensor_product_sm90.h: the wgmma kernel of tensor_product(). Private to it.
#pragma once

#include "ops/matmul/tensor_product_cuda.h"

namespace r1::cuda {

// True if this GPU has wgmma, this build has code for it, and the kernel takes the operands: aligned, and not
// both by rows with more than one shard.
bool wgmma_fits(const TensorProduct& product);
// `wide`: tiles of 192 columns (256 if neither operand is by k) in place of 128.
void wgmma_product(const TensorProduct& product, bool wide, void* stream);
// True if wide tiles take less time on this GPU.
bool wgmma_wide_pays(const TensorProduct& product);

// True if wgmma_split_product() takes the product.
bool wgmma_takes_splits(const TensorProduct& product);
void wgmma_split_product(const TensorProduct& product, const TensorSplits& splits, void* stream);

}  // namespace r1::cuda
