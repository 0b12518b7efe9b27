#include "ops/moe/moe.h"

#include <optional>

#include "base/integers.h"
#include "ops/backend.h"
#include "ops/convert/convert.h"
#include "ops/moe/moe_backend.h"

namespace r1 {
namespace {

void check_config(const MoeWeights& w, const Tensor& x) {
  const MoeConfig& config = w.config;
  const int64_t E = config.experts;
  R1_CHECK(E >= 1 && std::ssize(w.experts) == E && w.router && w.router.N() == E, "E ", E, " experts ",
           w.experts.size());
  R1_CHECK(x.shape.rank() == 2 && w.router.K() == x.dim(1), "x ", x.shape.str(), " router K ", w.router.K());
  R1_CHECK(config.groups >= 1 && E % config.groups == 0, "groups ", config.groups, " E ", E);
  R1_CHECK(config.top_groups >= 1 && config.top_groups <= config.groups, "top_groups ", config.top_groups);
  R1_CHECK(config.active >= 1 && config.active <= config.top_groups * (E / config.groups), "active ",
           config.active, " of E ", E);
  R1_CHECK(w.bias == nullptr || w.bias->value.count() == E, "selection bias of E ", E);
  R1_CHECK(x.dim(0) * config.active < INT32_MAX, "slots ", x.dim(0) * config.active);
}

void check_experts(const MoeWeights& w, int64_t D) {
  const int64_t F = w.experts[0].gate.N();
  R1_CHECK(w.router.bias() == nullptr, "a router with a bias");
  for (const Expert& e : w.experts) {
    R1_CHECK(e.gate.N() == F && e.gate.K() == D && e.up.N() == F && e.up.K() == D && e.down.N() == D &&
                 e.down.K() == F,
             "an expert's shapes: D ", D, " F ", F);
    R1_CHECK(e.gate.bias() == nullptr && e.up.bias() == nullptr && e.down.bias() == nullptr,
             "an expert with a bias");
  }
}

Balance balance(Context& ctx, const Batch& batch, const Routing& r, RouterScore score,
                const MoeTraining& training) {
  const int64_t S = batch.S();
  R1_CHECK(S >= 0 && (S == 0 ? r.T == 0 : batch.offsets[0] == 0 && batch.offsets.back() == r.T), "T ", r.T,
           " batch rows ", S);
  const Balance out{.pull = ctx.arena.array<float>(S * r.E), .token_row = ctx.arena.array<int32_t>(r.T)};
  R1_BACKEND(
      ctx, moe_balance,
      (MoeBalance{.batch = batch, .routing = r, .score = score, .training = training, .balance = out}));
  return out;
}

void count_selected(Context& ctx, const Routing& r, MoeStats& stats) {
  if (stats.selected.empty()) stats.selected.assign(static_cast<size_t>(r.E), 0);
  R1_CHECK(std::ssize(stats.selected) == r.E, "counts of ", stats.selected.size(), " E ", r.E);
  const OpScope scope(ctx);
  const int64_t* all = r.starts;
  if (r.starts_on_device) {
    const int64_t n = r.chunks() * (r.E + 1);
    auto* copy = ctx.host().array<int64_t>(n);
    if (ctx.measuring) return;
    ctx.memory().read(copy, r.starts, static_cast<size_t>(n) * sizeof(int64_t), ctx.stream);
    all = copy;
  }
  for (int64_t c = 0; c < r.chunks(); ++c) {
    const int64_t* starts = all + c * (r.E + 1);
    for (int64_t e = 0; e < r.E; ++e) stats.selected[static_cast<size_t>(e)] += starts[e + 1] - starts[e];
  }
}

}  // namespace

Routing route(Context& ctx, const Tensor& x, const MoeWeights& w) {
  check_config(w, x);
  Routing r{.T = x.dim(0), .E = w.config.experts, .A = w.config.active};
  r.chunk = R1_BACKEND(ctx, moe_chunk_tokens, w);
  r.scores = ctx.arena.array<float>(r.T * r.E);
  r.experts = ctx.arena.array<int32_t>(r.slots());
  r.weights = ctx.arena.array<float>(r.slots());
  r.rows = ctx.arena.array<int32_t>(r.slots());
  r.tokens = ctx.arena.array<int32_t>(r.slots());
  r.row_weights = ctx.arena.array<float>(r.slots());
  r.starts_on_device = ctx.device == Device::cuda;
  r.starts = (r.starts_on_device ? ctx.arena : ctx.host()).array<int64_t>(r.chunks() * (r.E + 1));
  R1_BACKEND(ctx, moe_route, (MoeRoute{.x = x, .w = w, .routing = r}));
  return r;
}

Tensor moe(Context& ctx, const Batch& batch, const Tensor& in, const MoeWeights& w,
           const MoeTraining& training) {
  check_config(w, in);
  check_experts(w, in.dim(1));
  const Tensor y = ctx.output(in.shape);
  std::optional<OpScope> scope;  // without a tape only y is kept
  if (ctx.tape == nullptr) scope.emplace(ctx);
  const bool narrow = R1_BACKEND(ctx, moe_keeps_bf16, in);
  MoeSaved saved{.x = narrow ? in : as_f32_tensor(ctx, in)};
  saved.routing = route(ctx, saved.x, w);
  const Routing& r = saved.routing;
  if (training.stats != nullptr) count_selected(ctx, r, *training.stats);
  if (training.balance_scale != 0 && (ctx.tape != nullptr || training.balance_loss != nullptr)) {
    saved.balance = balance(ctx, batch, r, w.config.score, training);
  }
  const int64_t kept = ctx.tape != nullptr ? r.T : std::min(r.chunk, r.T);
  const int64_t activations = kept * r.A * w.experts[0].gate.N(),
                floats = narrow ? ceil_div(activations, 2) : activations;
  saved.gate = ctx.arena.array<float>(floats);
  saved.up = ctx.arena.array<float>(floats);
  R1_BACKEND(ctx, moe_forward, (MoeForward{.w = w, .saved = saved, .y = y}));
  if (ctx.tape != nullptr) {
    ctx.tape->record([y, saved, weights = &w](Context& c) {
      const Tensor dy = c.tape->grad(y);
      if ((!dy && saved.balance.pull == nullptr) || saved.routing.T == 0) return;
      const GradSlot dx = c.tape->slot(saved.x);
      R1_BACKEND(c, moe_backward, (MoeBackward{.w = *weights, .saved = saved, .dy = dy, .dx = dx}));
    });
  }
  return y;
}

}  // namespace r1
