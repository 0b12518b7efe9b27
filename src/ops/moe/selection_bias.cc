// ops/moe/selection_bias.cc: the update of the router's selection bias. It is a few sums over E numbers, so
// every device leaves it to the host.
#include <algorithm>

#include "ops/moe/moe.h"
#include "tensor/transfer.h"

namespace r1 {

void update_selection_bias(Context& ctx, Parameter& bias, MoeStats& stats, float gamma) {
  const int64_t E = bias.value.count();
  R1_CHECK(std::ssize(stats.selected) == E, "counts of ", stats.selected.size(), " experts, bias of ", E);
  int64_t total = 0;
  for (const int64_t n : stats.selected) total += n;
  std::vector<float> b(static_cast<size_t>(E));
  read_values(ctx.memory(), bias.value, 0, b, ctx.stream);
  for (size_t e = 0; e < b.size(); ++e) {
    const int64_t above_mean = stats.selected[e] * E - total;  // exact, in units of 1 / E
    if (above_mean > 0) b[e] -= gamma;
    if (above_mean < 0) b[e] += gamma;
  }
  write_values(ctx.memory(), bias.value, 0, b, ctx.stream);
  ++bias.version;
  std::ranges::fill(stats.selected, 0);
}

}  // namespace r1
