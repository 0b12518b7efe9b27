// ops/embed/embed_cpu.cc: token embedding on the CPU. It has no double-precision reference: a copy is its own
// definition, which the test uses.
#include "ops/convert/convert.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embed/embed.h"
#include "ops/simd/grain.h"

namespace r1 {

Tensor embed(Context& ctx, std::span<const int32_t> tokens, Parameter& table) {
  const int64_t T = static_cast<int64_t>(tokens.size()), V = table.value.dim(0), D = table.value.dim(1);
  for (const int32_t token : tokens) R1_CHECK(token >= 0 && token < V, "token ", token, " of ", V);
  const Tensor y = ctx.output({T, D});
  copy_rows_f32(ctx.threads, table.value, tokens, y.f32());
  if (ctx.activations() == DType::bf16 && table.value.dtype == DType::f32)
    round_to_bf16(ctx.threads, y.f32(), y.count(), y.f32());
  if (ctx.tape != nullptr) {
    Parameter* parameter = &table;
    ctx.tape->record([tokens, y, parameter, D](Context& c) {
      const Tensor dy = c.tape->grad(y);
      if (!dy || !parameter->grad) return;
      c.tape->await_turn();
      const Tensor& grad = parameter->row_grad ? parameter->row_grad : parameter->grad;
      scatter_add_rows(c.threads, dy.f32(), tokens, D, grad.f32());
    });
  }
  return y;
}

}  // namespace r1
