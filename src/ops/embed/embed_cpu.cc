// ops/embed/embed_cpu.cc: token embedding on the CPU. It has no double-precision reference: a copy is its own
// definition, which the test uses.
#include "ops/elementwise/elementwise.h"
#include "ops/embed/embed_backend.h"

namespace r1::cpu {

void embed_forward(Context& ctx, const EmbedForward& call) {
  call.table->copy_rows(ctx, call.tokens, call.y.f32());
}

void embed_backward(Context& ctx, const EmbedBackward& call) {
  ctx.tape->await_turn();
  scatter_add_rows(ctx.threads, call.dy.f32(), call.tokens, call.dy.dim(1), call.grad.f32());
}

}  // namespace r1::cpu
