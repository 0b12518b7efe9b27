// ops/embed/embed_cpu.cc: token embedding on the CPU. A copy has no double-precision twin: the test's oracle
// is the definition.
#include <cstring>

#include "ops/elementwise/elementwise.h"
#include "ops/embed/embed.h"
#include "ops/simd/grain.h"

namespace r1 {

Tensor embed(Context& ctx, std::span<const int32_t> tokens, Parameter& table) {
  const int64_t T = static_cast<int64_t>(tokens.size()), V = table.value.dim(0), D = table.value.dim(1);
  for (const int32_t token : tokens) R1_CHECK(token >= 0 && token < V, "token ", token, " of ", V);
  const Tensor y = ctx.output({T, D});
  const float* from = table.value.f32();
  float* to = y.f32();
  ctx.threads.parallel_for(T, row_grain(D), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      std::memcpy(to + t * D, from + tokens[static_cast<size_t>(t)] * D,
                  static_cast<size_t>(D) * sizeof(float));
    }
  });
  if (ctx.tape != nullptr) {
    Parameter* parameter = &table;
    ctx.tape->record([tokens, y, parameter, D](Context& c) {
      const Tensor dy = c.tape->grad(y);
      if (!dy || !parameter->grad) return;
      scatter_add_rows(c.threads, dy.f32(), tokens, D, parameter->grad.f32());
    });
  }
  return y;
}

}  // namespace r1
