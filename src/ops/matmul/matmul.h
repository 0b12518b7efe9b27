// ops/matmul/matmul.h: y = x W^T (+ bias), the product with a Weight.
//
//   y[t, n] = bias[n] + sum over k of x[t, k] * W[n, k]
//
// cpu-f32: one f32 accumulator per output, starting from +0, walks k strictly in order with one FMA per step;
// the bias is added last. Bit-exact: y[t] is a function of x[t], W and bias alone, the same for every T,
// tile, thread count and instruction set.
//
// Backward: dx walks n in order. dW and dbias walk t in order and continue from what they held, so cutting a
// batch into consecutive pieces changes nothing.
//
// cuda-bf16: the sums of y, dx and dW go by steps on tensor cores (tensor_product_cuda.h): y and dx over shards
// of K and of N, dW over steps of tokens of one family (token_steps()), so that a cut between families changes
// nothing. dx and dW read dy rounded to bf16; dbias adds it unrounded. The bias is rounded to bf16 before it is
// added.
#pragma once

#include <initializer_list>
#include <span>
#include <vector>

#include "ops/matmul/weight.h"
#include "tensor/context.h"
#include "tensor/parameter.h"

namespace r1 {

// x [T, K] -> [T, N] in the numerics' activation type, or in `dtype` (f32 for logits and for what joins the
// residual stream). `w` must outlive the tape.
Tensor matmul(Context& ctx, const Tensor& x, const Weight& w);
Tensor matmul(Context& ctx, const Tensor& x, const Weight& w, DType dtype);

// The products of one x with several weights, in one launch where a backend has one for so few rows. The bits are
// those of matmul(). Without a tape.
std::vector<Tensor> matmuls(Context& ctx, const Tensor& x, std::initializer_list<const Weight*> weights);

// Without a tape: writes y [T, N], not rounded, to the caller's memory (scratch of other ops, e.g. a chunk's
// logits). x is f32 and holds values of the activation type.
void matmul_into(Context& ctx, const float* x, int64_t T, const Weight& w, float* y);

// Makes the steps of sums over the tokens of a batch of families with so many tokens each, for Context::steps, if
// the numerics has such steps. The lists lie in the arenas.
TokenSteps token_steps(Context& ctx, std::span<const int64_t> families);

// Shows ctx.inputs, if it is set, that x [T, K] is multiplied with `w`. matmul() calls it.
void observe_input(Context& ctx, const Tensor& x, const Weight& w);

namespace ref {
// Double-precision oracles. x [T, K], w [N, K], bias [N] or null.
void matmul(const float* x, const float* w, const float* bias, int64_t T, int64_t N, int64_t K, double* y);
// dy [T, N] -> dx [T, K], dw [N, K], dbias [N]. Outputs are assigned; each may be null.
void matmul_backward(const float* x, const float* w, const float* dy, int64_t T, int64_t N, int64_t K,
                     double* dx, double* dw, double* dbias);
}  // namespace ref

}  // namespace r1
