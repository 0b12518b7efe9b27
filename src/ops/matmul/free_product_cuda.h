// ops/matmul/free_product_cuda.h: products by cuBLASLt, which picks its order of sums by itself, to measure what our fixed
// order costs (r1 bench --no-exact). Private to this folder.
#pragma once

#include <string>

#include "ops/matmul/tensor_product_cuda.h"
#include "tensor/context.h"

namespace r1::cuda {

// Computes the product if cuBLASLt can, with scratch of the context's arena. Returns false for a product with a bias, with
// gathered rows or whose results are turned into gradients: compute it by tensor_product(). Throws Error if cuBLASLt is not
// installed.
bool free_product(Context& ctx, const TensorProduct& product);

}  // namespace r1::cuda
