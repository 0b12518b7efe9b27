// ops/norm/norm.h: RMSNorm (Zhang and Sennrich 2019).
//
//   y[t, d] = (x[t, d] * rstd[t]) * w[d],   rstd[t] = 1 / sqrt(mean over d of x[t, d]^2 + eps)
//
// cpu-f32: squares are summed in f32 by FMA in sixteen virtual lanes (lane = d mod 16, d in order), then a
// fixed tree (8, 4, 2, 1 apart); mean, sum with eps, sqrt and 1/x are one correctly rounded f32 operation
// each. Bit-exact: y[t] is a function of x[t], w and eps alone. Backward: dw walks t in order and
// continues from what it held. x is f32 (the residual stream) or an activation; y is an activation (bf16
// numerics: w and y are rounded).
#pragma once

#include "tensor/context.h"
#include "tensor/parameter.h"

namespace r1 {

// x [T, D], w [D] -> [T, D]. x may have any shape whose last dimension is D; each row is normalised.
Tensor rms_norm(Context& ctx, const Tensor& x, Parameter& w, float eps);

// sum = a + b [T, D] in f32, and its norm: add() and rms_norm(), in one pass over memory where a backend has one.
struct NormedSum {
  Tensor sum, normed;
};
NormedSum add_and_norm(Context& ctx, const Tensor& a, const Tensor& b, Parameter& w, float eps);

// x += term, then y = rms_norm(x): the residual stream [T, D] takes in a part's result, and the next part's input is
// made, in one pass over memory where a backend has one. Without a tape.
void add_rms_norm(Context& ctx, const Tensor& x, const Tensor& term, const Parameter& w, float eps,
                  const Tensor& y);
// y = rms_norm(x), into memory that the caller has. Without a tape.
void rms_norm_into(Context& ctx, const Tensor& x, const Parameter& w, float eps, const Tensor& y);

namespace ref {
void rms_norm(const float* x, const float* w, int64_t T, int64_t D, double eps, double* y);
void rms_norm_backward(const float* x, const float* w, const float* dy, int64_t T, int64_t D, double eps,
                       double* dx, double* dw);
}  // namespace ref

}  // namespace r1
