#include "ops/embed/embed.h"

#include "ops/backend.h"
#include "ops/embed/embed_backend.h"

namespace r1 {

Tensor embed(Context& ctx, std::span<const int32_t> tokens, const Weight& table) {
  const int64_t V = table.N(), D = table.K();
  for (const int32_t token : tokens) R1_CHECK(token >= 0 && token < V, "token ", token, " of ", V);
  const Tensor y = ctx.output({std::ssize(tokens), D});
  R1_BACKEND(ctx, embed_forward, (EmbedForward{.tokens = tokens, .table = &table, .y = y}));
  if (ctx.tape != nullptr) {
    Parameter* parameter = &table.dense();
    ctx.tape->record([tokens, y, parameter](Context& c) {
      const Tensor dy = c.tape->grad(y);
      if (!dy || !parameter->grad) return;
      const Tensor& grad = parameter->row_grad ? parameter->row_grad : parameter->grad;
      R1_BACKEND(c, embed_backward, (EmbedBackward{.tokens = tokens, .dy = dy, .grad = grad}));
    });
  }
  return y;
}

}  // namespace r1
