// ops/matmul/round_gradient_cuda.h: what the backward of a product with a bias makes of dy in cuda-bf16, in one pass.
// Private to this folder and its tests.
#pragma once

#include <cstdint>

#include "tensor/context.h"

namespace r1::cuda {

// rounded [T, N] = dy [T, N] in bf16; dbias [N] += the columns of dy, unrounded, in the order of
// ops/simd/column_blocks_cuda.cuh. Pointers are the device's. Returns false, and does nothing, if the numerics has no
// such order or the shapes do not allow it. Takes scratch, also while memory is measured.
bool round_and_sum_columns(Context& ctx, const float* dy, int64_t T, int64_t N, uint16_t* rounded,
                           float* dbias);

}  // namespace r1::cuda
