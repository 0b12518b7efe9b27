#include "ops/norm/norm.h"

#include "ops/backend.h"
#include "ops/elementwise/elementwise.h"
#include "ops/norm/norm_backend.h"

namespace r1 {

Tensor rms_norm(Context& ctx, const Tensor& x, Parameter& w, float eps) {
  const int64_t D = x.dim(-1), T = x.rows();
  R1_CHECK(w.value.count() == D, "norm weight ", w.name, " ", w.value.shape.str(), ", input ", x.shape.str());
  const Tensor y = ctx.output(x.shape, ctx.activations());
  float* rstd = ctx.tape != nullptr ? ctx.arena.array<float>(T) : nullptr;
  R1_BACKEND(ctx, norm_forward, (NormForward{.x = x, .y = y, .w = &w, .eps = eps, .rstd = rstd}));
  if (ctx.tape != nullptr) {
    Parameter* weight = &w;
    ctx.tape->record([x, y, rstd, weight](Context& c) {
      const Tensor dy = c.tape->grad(y);
      if (!dy) return;
      const GradSlot dx = c.tape->slot(x);
      R1_BACKEND(c, norm_backward, (NormBackward{.x = x, .dy = dy, .rstd = rstd, .w = weight, .dx = dx}));
    });
  }
  return y;
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
  R1_BACKEND(ctx, norm_forward, (NormForward{.x = x, .y = y, .w = &w, .eps = eps, .term = term}));
}

}  // namespace r1
