#include "ops/matmul/matmul.h"

#include <algorithm>
#include <vector>

#include "ops/backend.h"
#include "ops/convert/convert.h"
#include "ops/matmul/matmul_backend.h"

namespace r1 {

void observe_input(Context& ctx, const Tensor& x, const Weight& w) {
  if (ctx.inputs == nullptr || ctx.measuring) return;
  const OpScope scope(ctx);
  ctx.inputs->see(w.dense().name, 0, 1, as_f32(ctx, x), x.dim(0), w.K(), w.K());
}

Tensor matmul(Context& ctx, const Tensor& x, const Weight& w, DType dtype) {
  R1_CHECK(x.shape.rank() == 2 && x.dim(1) == w.K(), w.dense().name, " is ", w.dense().value.shape.str(),
           ", its input ", x.shape.str());
  observe_input(ctx, x, w);
  const Tensor y = ctx.output({x.dim(0), w.N()}, dtype);
  R1_BACKEND(ctx, matmul_forward, (MatmulForward{.x = x, .y = y, .w = &w}));
  if (ctx.tape != nullptr) {
    const Weight* weight = &w;
    // Only the gradient of a bias reads dy unrounded.
    if (ctx.row().product == Product::tensor_bf16 && (w.bias() == nullptr || !w.bias()->grad))
      ctx.tape->read_rounded(y);
    ctx.tape->record([x, y, weight](Context& c) {
      const Tensor dy = c.tape->grad(y);
      if (!dy) return;
      const Tensor rounded = c.tape->rounded_grad(y);
      const GradSlot dx = c.tape->slot(x);
      R1_BACKEND(c, matmul_backward,
                 (MatmulBackward{.x = x, .dy = dy, .rounded = rounded, .w = weight, .dx = dx}));
    });
  }
  return y;
}

Tensor matmul(Context& ctx, const Tensor& x, const Weight& w) {
  return matmul(ctx, x, w, ctx.activations());
}

std::vector<Tensor> matmuls(Context& ctx, const Tensor& x, std::initializer_list<const Weight*> weights) {
  R1_CHECK(ctx.tape == nullptr, "products side by side have no backward");
  std::vector<Tensor> out;
  std::vector<MatmulForward> calls;
  for (const Weight* w : weights) {
    R1_CHECK(x.shape.rank() == 2 && x.dim(1) == w->K(), w->dense().name, " is ", w->dense().value.shape.str(),
             ", its input ", x.shape.str());
    observe_input(ctx, x, *w);
    out.push_back(ctx.output({x.dim(0), w->N()}, ctx.activations()));
    calls.push_back({.x = x, .y = out.back(), .w = w});
  }
  if (R1_BACKEND(ctx, matmuls_forward, calls)) return out;
  for (const MatmulForward& call : calls) R1_BACKEND(ctx, matmul_forward, call);
  return out;
}

TokenSteps token_steps(Context& ctx, std::span<const int64_t> families) {
  if (ctx.row().product != Product::tensor_bf16) return {};
  const std::vector<int32_t> rows = token_step_rows(families);
  auto* sizes = ctx.host().array<int64_t>(std::ssize(families));
  auto* list = ctx.host().array<int32_t>(std::ssize(rows));
  auto* device = ctx.arena.array<int32_t>(std::ssize(rows));
  std::ranges::copy(families, sizes);
  std::ranges::copy(rows, list);
  ctx.memory().write(device, list, rows.size() * sizeof(int32_t), ctx.stream);
  return {.families = {sizes, families.size()}, .rows = {list, rows.size()}, .device = device};
}

void matmul_into(Context& ctx, const float* x, int64_t T, const Weight& w, float* y) {
  w.times(ctx, x, T, y);
}

}  // namespace r1
