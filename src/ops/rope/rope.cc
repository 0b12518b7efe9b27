#include "ops/rope/rope.h"

#include "ops/backend.h"
#include "ops/rope/rope_backend.h"

namespace r1 {

Tensor rope(Context& ctx, const Tensor& x, std::span<const int32_t> positions, const RopeTable& table,
            RopeStyle style) {
  R1_CHECK(x.shape.rank() == 3, "rope input ", x.shape.str());
  R1_CHECK(static_cast<int64_t>(positions.size()) == x.dim(0), positions.size(), " positions, input ",
           x.shape.str());
  R1_CHECK(table.width() <= x.dim(2), "rotary width ", table.width(), ", input ", x.shape.str());
  table.check(positions);
  const Rotary rotary{.positions = positions, .table = &table, .style = style};
  const Tensor y = ctx.output(x.shape, ctx.activations());
  R1_BACKEND(ctx, rope_forward, (RopeForward{.x = x, .y = y, .rotary = rotary}));
  if (ctx.tape != nullptr) {
    ctx.tape->record([x, y, rotary](Context& c) {
      const Tensor dy = c.tape->grad(y);
      if (!dy) return;
      const GradSlot dx = c.tape->slot_to_round(x);
      if (!dx) return;
      R1_BACKEND(c, rope_backward, (RopeBackward{.dy = dy, .dx = dx, .rotary = rotary}));
    });
  }
  return y;
}

}  // namespace r1
