// ops/moe/balance_cpu.cc: the sequence-wise loss that keeps the experts evenly loaded.
#include <algorithm>
#include <cmath>

#include "ops/moe/moe_backend.h"

namespace r1 {
namespace cpu {
namespace {

// One row of n tokens: scale * n * sum over e of f_e P_e, in double, tokens and experts in order.
double row_loss(const Routing& r, RouterScore score, int64_t begin, int64_t end, const double* f,
                double scale, double* share) {
  std::fill(share, share + r.E, 0.0);
  for (int64_t t = begin; t < end; ++t) {
    const float* s = r.scores + t * r.E;
    double sum = 1.0;  // of a softmax
    if (score == RouterScore::sigmoid) {
      sum = 1e-20;
      for (int64_t e = 0; e < r.E; ++e) sum += static_cast<double>(s[e]);
    }
    for (int64_t e = 0; e < r.E; ++e) share[e] += static_cast<double>(s[e]) / sum;
  }
  double loss = 0;
  for (int64_t e = 0; e < r.E; ++e) loss += f[e] * share[e];  // share = n P_e
  return scale * loss;
}

// Rounds to a multiple of 2^-40: sums below 2^12 are then exact and do not depend on how a batch is cut.
double exactly_summable(double loss) {
  constexpr double kUnit = 0x1p-40;
  return std::nearbyint(loss / kUnit) * kUnit;
}

}  // namespace

void moe_balance(Context& ctx, const MoeBalance& call) {
  const Batch& batch = call.batch;
  const Routing& r = call.routing;
  const MoeTraining& training = call.training;
  float* pull = call.balance.pull;
  int32_t* token_row = call.balance.token_row;
  const int64_t S = batch.S();
  const OpScope scope(ctx);
  const bool wanted = training.balance_loss != nullptr;
  double* losses = ctx.arena.array<double>(S);
  double* room = ctx.arena.array<double>(2 * r.E * ctx.threads.size());
  const double scale = static_cast<double>(training.balance_scale);
  ctx.threads.parallel_for_thread(S, 4, [&](int64_t first, int64_t last, int thread) {
    double* f = room + 2 * r.E * thread;
    for (int64_t row = first; row < last; ++row) {
      const int64_t begin = batch.offsets[static_cast<size_t>(row)];
      const int64_t end = batch.offsets[static_cast<size_t>(row) + 1];
      std::fill(token_row + begin, token_row + end, static_cast<int32_t>(row));
      std::fill(f, f + r.E, 0.0);
      for (int64_t slot = begin * r.A; slot < end * r.A; ++slot) f[r.experts[slot]] += 1;
      const double unit =
          static_cast<double>(r.E) / static_cast<double>(std::max<int64_t>(1, r.A * (end - begin)));
      for (int64_t e = 0; e < r.E; ++e) {
        f[e] *= unit;
        pull[row * r.E + e] = static_cast<float>(scale * f[e]);
      }
      losses[row] = wanted ? exactly_summable(row_loss(r, call.score, begin, end, f, scale, f + r.E)) : 0;
    }
  });
  if (!wanted || ctx.measuring) return;
  for (int64_t row = 0; row < S; ++row) *training.balance_loss += losses[row];
}

}  // namespace cpu

}  // namespace r1
