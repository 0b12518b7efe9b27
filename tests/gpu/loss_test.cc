// tests/gpu/loss_test.cc: log-probs, entropies and their gradients on the device have cpu-f32's bits.
#include "ops/loss/loss.h"

#include "tests/gpu/device_run.h"

namespace r1 {
namespace {
using namespace test;

class CudaLoss : public OnDevice {};

struct LossCase {
  LossCase(int64_t t, int64_t d, int64_t v, double spread = 1.0) : T(t), D(d), V(v) {
    Random random(static_cast<uint64_t>(T * 7919 + D * 31 + V));
    h = random_normal(random, T * D, spread);
    w = random_normal(random, V * D);
    dw = random_normal(random, V * D);
    dh = random_normal(random, T * D);
    for (int64_t i = 0; i < T; ++i) {
      targets.push_back(random.below(4) == 0 ? -1 : static_cast<int32_t>(random.below(V)));
      g.push_back(random.below(3) == 0 ? 0.0f : static_cast<float>(random.normal()));
    }
  }
  int64_t T, D, V;
  std::vector<float> h, w, dw, dh, g;
  std::vector<int32_t> targets;
};

// The op is recorded `times` times on the same hidden states.
void compare_loss(const LossCase& c, float temperature, bool with_entropy, int times = 1) {
  expect_both_agree(
      [&](auto& r) -> std::vector<std::vector<float>> {
        PlacedParameter w(r.ctx.memory(), {c.V, c.D}, c.w, c.dw);
        const Weight head(&w.p);
        const Tensor h = r.input({c.T, c.D}, c.h);
        std::vector<float> dh;
        r.want(h, &dh);
        poison(r);
        const Tensor entropy = with_entropy ? r.ctx.arena.tensor({c.T}) : Tensor();
        std::vector<std::vector<float>> out;
        for (int i = 0; i < times; ++i) {
          const Tensor logprobs = token_log_probs(r.ctx, h, head, c.targets, temperature, entropy);
          out.push_back(i == 0 ? guarded_values(r, logprobs) : values(r, logprobs));
          r.seed(logprobs, c.g);
        }
        if (entropy) out.push_back(guarded_values(r, entropy));
        r.backward();
        out.insert(out.end(), {dh, w.gradient()});
        return out;
      },
      "T " + std::to_string(c.T) + " D " + std::to_string(c.D) + " V " + std::to_string(c.V) +
          (with_entropy ? " entropy" : ""));
}

TEST_F(CudaLoss, HasTheBitsOfTheCpu) {
  for (const int64_t T : {1, 3, 17, 100}) {
    for (const int64_t V : {1, 2, 17, 500, 4099}) {
      for (const bool entropy : {false, true}) {
        compare_loss(LossCase(T, 33, V), 1.0f, entropy);
        compare_loss(LossCase(T, 20, V, 4.0), 0.7f, entropy);
      }
    }
  }
}

TEST_F(CudaLoss, AddsToWhatGradientsHeld) {
  compare_loss(LossCase(40, 24, 300), 1.3f, true, 2);
}

// More logits than are kept for the backward, rows of many pieces, and several chunks on the CPU.
TEST_F(CudaLoss, HasTheBitsOfTheCpuOnALargeVocabulary) {
  compare_loss(LossCase(70, 8, 70001, 2.0), 0.9f, true);
  compare_loss(LossCase(9, 4, 152064, 6.0), 1.0f, false);
}

TEST_F(CudaLoss, FollowsExtremeLogits) {
  LossCase c(30, 16, 1000, 60.0);  // most weights are 0
  for (int64_t d = 0; d < c.D; ++d) c.h[static_cast<size_t>(3 * c.D + d)] = 0.0f;
  compare_loss(c, 1.0f, true);
  c.h[static_cast<size_t>(5 * c.D)] = kNaN;
  c.targets[5] = 7;
  c.g[5] = 1.0f;
  compare_loss(c, 0.5f, true);
}

TEST_F(CudaLoss, TakesNothing) {
  LossCase c(6, 4, 9);
  std::ranges::fill(c.targets, -1);
  compare_loss(c, 1.0f, true);
  LossCase idle(6, 4, 9);
  std::ranges::fill(idle.g, 0.0f);
  compare_loss(idle, 1.0f, false);
}

}  // namespace
}  // namespace r1
