#include "ops/norm/norm.h"

#include "ops/backend.h"
#include "ops/elementwise/elementwise.h"
#include "ops/norm/norm_backend.h"

namespace r1 {
namespace {

void record_norm(Context& ctx, const Tensor& x, const Tensor& y, const float* rstd, Parameter* w) {
  ctx.tape->record([x, y, rstd, w](Context& c) {
    const Tensor dy = c.tape->grad(y);
    if (!dy) return;
    NormBackward call{.x = x, .dy = dy, .rstd = rstd, .w = w, .dx = c.tape->slot_to_round(x)};
    if (call.dx && call.dx.grad.dtype == DType::f32) call.rounded = c.tape->rounded_copy(x);
    R1_BACKEND(c, norm_backward, call);
  });
}

void check_weight(const Parameter& w, const Tensor& x) {
  R1_CHECK(w.value.count() == x.dim(-1), "norm weight ", w.name, " ", w.value.shape.str(), ", input ",
           x.shape.str());
}

}  // namespace

Tensor rms_norm(Context& ctx, const Tensor& x, Parameter& w, float eps) {
  check_weight(w, x);
  const Tensor y = ctx.output(x.shape, ctx.activations());
  float* rstd = ctx.tape != nullptr ? ctx.arena.array<float>(x.rows()) : nullptr;
  R1_BACKEND(ctx, norm_forward, (NormForward{.x = x, .y = y, .w = &w, .eps = eps, .rstd = rstd}));
  if (ctx.tape != nullptr) record_norm(ctx, x, y, rstd, &w);
  return y;
}

NormedSum add_and_norm(Context& ctx, const Tensor& a, const Tensor& b, Parameter& w, float eps) {
  if (ctx.device == Device::cpu) {
    const Tensor sum = add(ctx, a, b);
    return {sum, rms_norm(ctx, sum, w, eps)};
  }
  check_weight(w, a);
  const Tensor sum = ctx.output(a.shape);
  if (ctx.tape != nullptr) record_sum(ctx, a, b, sum);
  const Tensor y = ctx.output(a.shape, ctx.activations());
  float* rstd = ctx.tape != nullptr ? ctx.arena.array<float>(a.rows()) : nullptr;
  if (ctx.tape != nullptr) record_norm(ctx, sum, y, rstd, &w);
  R1_BACKEND(ctx, norm_forward,
             (NormForward{.x = a, .y = y, .w = &w, .eps = eps, .rstd = rstd, .term = b, .sum = sum}));
  return {sum, y};
}

void rms_norm_into(Context& ctx, const Tensor& x, const Parameter& w, float eps, const Tensor& y) {
  R1_CHECK(w.value.count() == x.dim(-1) && y.shape == x.shape && y.dtype == ctx.activations(), w.name, " ",
           w.value.shape.str(), ", input ", x.shape.str(), ", output ", y.shape.str());
  R1_CHECK(ctx.tape == nullptr, "a norm into memory has no backward");
  R1_BACKEND(ctx, norm_forward, (NormForward{.x = x, .y = y, .w = &w, .eps = eps}));
}

void add_rms_norm(Context& ctx, const Tensor& x, const Tensor& term, const Parameter& w, float eps,
                  const Tensor& y) {
  if (ctx.device == Device::cpu) {
    add_in_place(ctx, x, term);
    return rms_norm_into(ctx, x, w, eps, y);
  }
  R1_CHECK(w.value.count() == x.dim(-1) && y.shape == x.shape && term.shape == x.shape, w.name, " ",
           w.value.shape.str(), ", input ", x.shape.str(), " and ", term.shape.str(), ", output ",
           y.shape.str());
  R1_CHECK(ctx.tape == nullptr, "a sum in place has no backward");
  R1_BACKEND(ctx, norm_forward, (NormForward{.x = x, .y = y, .w = &w, .eps = eps, .term = term, .sum = x}));
}

}  // namespace r1
