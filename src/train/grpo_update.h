// train/grpo_update.h: the gradient of one minibatch of rollouts.
//
// Only the policy's tokens have log-probs, weights and gradients. The environment's tokens within a rollout
// are context: their gradient is exactly 0.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/scoring.h"
#include "train/grpo.h"
#include "train/rollout.h"

namespace r1 {

// The rollouts' policy tokens, in order of the rollouts, which outlive the result.
std::vector<ScoredRow> scored_rows(std::span<const Rollout> rollouts);
ScoringOptions rollout_scoring(const GrpoConfig& config);

// The figures of one rollout in one update.
struct RolloutFigures {
  double loss = 0, kl = 0, entropy = 0;  // sums over the policy's tokens
  int64_t clipped = 0;
  double max_abs = 0, sampler_kl = 0;  // of the trainer's log-probs against the sampler's
};

// Returns the figures of the trainer's log-probs against the sampler's. Equal bits give exactly 0 in both.
RolloutFigures compared(std::span<const float> scored, const Rollout& rollout);

struct MinibatchFigures {
  std::vector<RolloutFigures> rollouts;  // those with a gradient first
  bool moves = false;                    // a rollout has a gradient
};

// Adds the minibatch's gradients to the model's. Masked rollouts have none, and without a critic those without an
// advantage have none either; they are only scored, for the figures. With compare_first, the figures include the comparison with the
// sampler.
MinibatchFigures differentiate_minibatch(Model& model, Lanes& lanes, std::span<const Rollout> minibatch,
                                         const GrpoConfig& config, bool compare_first);

}  // namespace r1
