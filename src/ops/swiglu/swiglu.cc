#include "ops/swiglu/swiglu.h"

#include "ops/backend.h"
#include "ops/swiglu/swiglu_backend.h"

namespace r1 {

Tensor swiglu(Context& ctx, const Tensor& gate, const Tensor& up) {
  R1_CHECK(gate.shape == up.shape, "gate ", gate.shape.str(), ", up ", up.shape.str());
  const Tensor y = ctx.output(gate.shape, ctx.activations());
  R1_BACKEND(ctx, swiglu_forward, (SwigluForward{.gate = gate, .up = up, .y = y}));
  if (ctx.tape != nullptr) {
    ctx.tape->record([gate, up, y](Context& c) {
      const Tensor dy = c.tape->grad(y);
      if (!dy) return;
      const bool one = gate.node == up.node;  // whose two gradients are added
      const GradSlot dgate = one ? c.tape->slot(gate) : c.tape->slot_to_round(gate),
                     dup = one ? c.tape->slot(up) : c.tape->slot_to_round(up);
      if (!dgate && !dup) return;
      R1_BACKEND(c, swiglu_backward,
                 (SwigluBackward{.gate = gate, .up = up, .dy = dy, .dgate = dgate, .dup = dup}));
    });
  }
  return y;
}

}  // namespace r1
