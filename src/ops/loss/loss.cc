#include "ops/loss/loss.h"

#include "ops/backend.h"
#include "ops/loss/loss_backend.h"

namespace r1 {

Tensor token_log_probs(Context& ctx, const Tensor& h, const Weight& head, std::span<const int32_t> targets,
                       float temperature, const Tensor& entropy) {
  R1_CHECK(h.shape.rank() == 2 && h.dim(1) == head.K(), "hidden states ", h.shape.str(), ", head [", head.N(),
           ", ", head.K(), "]");
  const int64_t T = h.dim(0), V = head.N();
  R1_CHECK(static_cast<int64_t>(targets.size()) == T, targets.size(), " targets, ", T, " tokens");
  R1_CHECK(!entropy || entropy.count() == T, "entropy ", entropy.shape.str(), ", ", T, " tokens");
  R1_CHECK(temperature > 0, "temperature ", temperature);
  for (const int32_t target : targets) R1_CHECK(target >= -1 && target < V, "target ", target, " of ", V);
  LogProbs call{.h = h,
                .logprobs = ctx.output({T}),
                .entropy = entropy,
                .head = &head,
                .targets = targets,
                .inv_temperature = 1.0f / temperature,
                .max = {},
                .sum = {},
                .logits = {}};
  if (ctx.tape != nullptr) {
    call.max = ctx.arena.tensor({T});
    call.sum = ctx.arena.tensor({T});
    // On tensor cores, the backward makes no use of them.
    if (T * V <= kKeptLogits && ctx.row().product != Product::tensor_bf16)
      call.logits = ctx.arena.tensor({T, V});
  }
  R1_BACKEND(ctx, log_probs_forward, call);
  if (ctx.tape != nullptr) {
    ctx.tape->record([call](Context& c) {
      const Tensor dlogprobs = c.tape->grad(call.logprobs);
      if (!dlogprobs) return;
      const GradSlot dh = c.tape->slot(call.h);
      R1_BACKEND(c, log_probs_backward,
                 (LogProbsBackward{.forward = call, .dlogprobs = dlogprobs, .dh = dh}));
    });
  }
  return call.logprobs;
}

}  // namespace r1
