// ops/matmul/tensor_product_sm90.h: the wgmma kernel of tensor_product(). Private to it.
#pragma once

#include "ops/matmul/tensor_product_cuda.h"

namespace r1::cuda {

// True if this GPU has wgmma, this build has code for it, and the kernel takes the operands: both by k,
// aligned.
bool wgmma_fits(const TensorProduct& product);
void wgmma_product(const TensorProduct& product, void* stream);

}  // namespace r1::cuda
