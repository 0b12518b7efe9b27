// ops/moe/moe_kernels.h: the vector loops of ops/moe. All are elementwise except one dot product, which runs
// in sixteen virtual lanes and a fixed tree: no bit depends on the vector width.
#pragma once

#include <cstdint>

namespace r1::moe_kernels {

// z[i] = 1 / (1 + exp(-z[i])).
void sigmoid(float* z, int64_t n);

// Each row of z [T, E] becomes its softmax: exp(z - max) / sum, the sum in ascending order.
void softmax(float* z, int64_t T, int64_t E);

// rank[i] = the number of keys that come before key i: the larger ones, and equal ones of a lower index. Both
// arrays need room up to a multiple of 16, which is overwritten (keys: with the least integer; a key may be
// it only to mean "never").
void ranks(int32_t* keys, int64_t n, int32_t* rank);

// out[r] = in[index[r]] for r in [begin, end), D floats each.
void gather(const float* in, const int32_t* index, int64_t begin, int64_t end, int64_t D, float* out);

// y[t] = sum over a < A, in order, by FMA from +0, of weights[t, a] * in[rows[t, a]], for t in [begin, end).
void combine(const float* in, const int32_t* rows, const float* weights, int64_t begin, int64_t end,
             int64_t A, int64_t D, float* y);

// sum = in[rows[t, 0]] + in[rows[t, 1]] + ..., in order; y[t] = sum, or y[t] + sum.
void add_rows(const float* in, const int32_t* rows, int64_t begin, int64_t end, int64_t A, int64_t D,
              bool accumulate, float* y);

// One row of an expert, h = silu(gate) * up, whose output counts with `weight`. In: the row's gate and up,
// and the gradient dh of h as if weight were 1. Out, in place: gate and up become their gradients (weight
// included), and dh becomes weight * h, the factor in down's weight gradient. Returns the sum of h * dh, the
// gradient of weight. round_h: the forward rounded h to bf16.
float swiglu_row_backward(float* gate, float* up, float* dh, int64_t F, float weight, bool round_h);

}  // namespace r1::moe_kernels
