// ops/matmul/split_gradient_cuda.h: the gradient of a weight in cuda-bf16, over the families of a batch. Private to this
// folder and to its tests.
//
//   for every family in order, and every piece of at most kChainSteps steps of it, from its first token on:
//     chain = +0;  for every step of 16 tokens in order: chain = mma(chain, the step's products)
//     dw = dw + chain
//
// Chains run side by side, so that small matrices fill the chip too. They are held in scratch and added in order: on Hopper
// while others are summed (tensor_chains_sm90.cu), elsewhere afterwards. Hopper's blocks walk all chains of tiles of wide
// matrices, without scratch.
// The result does not depend on which families run together.
#pragma once

#include <cstdint>
#include <span>

#include "ops/matmul/tensor_product_cuda.h"
#include "tensor/context.h"

namespace r1::cuda {

inline constexpr int64_t kChainSteps = 64;  // 1,024 tokens

// dw [N, K] of dy [T, N] and x [T, K], the tokens of ctx.steps. Takes scratch.
void split_weight_gradient(Context& ctx, const uint16_t* x, const uint16_t* dy, int64_t N, int64_t K,
                           float* dw);
// While memory is measured, which knows no families: takes as much scratch as any families of 64 tokens and more need, on any
// device.
void measure_split_gradient(Context& ctx, int64_t T, int64_t N, int64_t K);

}  // namespace r1::cuda
