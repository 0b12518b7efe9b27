#include "ops/matmul/matmul.h"

#include "ops/backend.h"
#include "ops/matmul/matmul_backend.h"

namespace r1 {

Tensor matmul(Context& ctx, const Tensor& x, const Weight& w, DType dtype) {
  R1_CHECK(x.shape.rank() == 2 && x.dim(1) == w.K(), w.dense().name, " is ", w.dense().value.shape.str(),
           ", its input ", x.shape.str());
  const Tensor y = ctx.output({x.dim(0), w.N()}, dtype);
  R1_BACKEND(ctx, matmul_forward, (MatmulForward{.x = x, .y = y, .w = &w}));
  if (ctx.tape != nullptr) {
    const Weight* weight = &w;
    ctx.tape->record([x, y, weight](Context& c) {
      const Tensor dy = c.tape->grad(y);
      if (!dy) return;
      const GradSlot dx = c.tape->slot(x);
      R1_BACKEND(c, matmul_backward, (MatmulBackward{.x = x, .dy = dy, .w = weight, .dx = dx}));
    });
  }
  return y;
}

Tensor matmul(Context& ctx, const Tensor& x, const Weight& w) {
  return matmul(ctx, x, w, ctx.activations());
}

void matmul_into(Context& ctx, const float* x, int64_t T, const Weight& w, float* y) {
  w.times(ctx, x, T, y);
}

}  // namespace r1
