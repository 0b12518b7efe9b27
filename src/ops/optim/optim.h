// ops/optim/optim.h: AdamW (Loshchilov and Hutter 2019) and the global gradient norm.
//
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w -= lr * ((m / c1) / (sqrt(v / c2) + eps) + wd * w)
//   c1 = 1 - b1^step;  c2 = 1 - b2^step
//
// cpu-f32: each line in f32, with FMA where optim_cpu.cc has it; elementwise, so bit-exact for any cut. The
// norm sums squares in double: fixed blocks of 4096 elements (16 lanes in order, then a tree), blocks in
// order, parameters in order.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/context.h"
#include "tensor/parameter.h"

namespace r1 {

struct AdamW {
  float lr = 1e-3f, beta1 = 0.9f, beta2 = 0.95f, eps = 1e-8f, weight_decay = 0.0f;
  int64_t step = 1;  // the number of this update, from 1
};

// Updates one parameter. m and v have its value's shape. grad is first multiplied by `grad_scale`
// (clipping). Adds one to p.version.
void adamw_update(Context& ctx, Parameter& p, const Tensor& m, const Tensor& v, const AdamW& how,
                  float grad_scale);

// Updates all parameters of a model, each with its own weight decay instead of how.weight_decay: in one launch, where
// a backend has one.
struct AdamWItem {
  Parameter* parameter = nullptr;
  Tensor m, v;
  float weight_decay = 0;
};
void adamw_update(Context& ctx, std::span<const AdamWItem> items, const AdamW& how, float grad_scale);

// The square root of the sum of squares over all gradients.
double gradient_norm(Context& ctx, std::span<Parameter* const> parameters);

// Sets the gradients of all of them to 0.
void zero_gradients(Context& ctx, std::span<Parameter* const> parameters);

namespace ref {
void adamw(double* w, const float* g, double* m, double* v, int64_t n, const AdamW& how, double grad_scale);
}  // namespace ref

}  // namespace r1
