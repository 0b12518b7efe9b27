// ops/matmul/tensor_few_cuda.h: tensor_product() for few rows of Q: the rows of decoding. Private to this folder.
#pragma once

#include <span>

#include "ops/matmul/tensor_product_cuda.h"

namespace r1::cuda {

// True if the kernel for few rows can compute it.
bool few_rows_fit(const TensorProduct& product);
void few_rows_product(const TensorProduct& product, const TensorGroups& groups, void* stream);
// Products of one Q, one K and one number of shards, in one launch.
void few_rows_products(std::span<const TensorProduct> products, void* stream);

}  // namespace r1::cuda
