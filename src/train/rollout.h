// train/rollout.h: one sampled conversation, as segments of tokens.
//
// A segment is either the policy's (sampled) or the environment's (the prompt, a tool's result, a later
// turn). Log-probs, advantages and the loss cover the policy's tokens only; the environment's are context. A
// policy segment names the version of the weights that sampled it: the number of updates that they have had.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "model/token_range.h"
#include "reward/verdict.h"

namespace r1 {

struct RolloutSegment {
  TokenRange tokens;
  bool policy = false;  // false: the environment's
  int64_t weights = 0;  // of a policy segment: the version of the weights that sampled it
};

// A conversation with its scores, reward and advantage.
struct Rollout {
  int64_t problem = 0;  // index in the step's list
  uint32_t prompt = 0;  // in the random key: the problem's index among all that the step sampled
  int64_t sample = 0;
  std::vector<int32_t> tokens;           // of all segments
  std::vector<RolloutSegment> segments;  // all tokens, in order; the first is the environment's: the prompt
  std::string opening;                   // the thought's beginning that the prompt contains: see ChatPrompt
  std::vector<float> old_logprobs;       // the sampler's, one per policy token
  std::vector<float> ref_logprobs;       // the reference's, likewise; empty without a KL term
  FinishReason finish = FinishReason::length;
  bool correct = false, well_formed = false;
  std::string why;
  SampleStatus status = SampleStatus::scored;
  double reward = 0, advantage = 0;  // a critic's advantage is the mean over the policy's tokens
  // With a critic, one number per policy token: its value before the token (train/ppo_loss.h), the advantage (as
  // the loss takes it), and the return that the critic learns.
  std::vector<float> values;
  std::vector<double> advantages, returns;
  bool masked = false;  // left out of the loss: cut off (loss.overlong = "mask"), or its verifier failed
  bool failed() const { return status == SampleStatus::verifier_failed; }

  // Append a segment at the end. A policy segment has one log-prob per token.
  void add_environment(std::span<const int32_t> more);
  void add_policy(std::span<const int32_t> more, std::span<const float> logprobs, int64_t weights);

  std::span<const int32_t> prompt_tokens() const;  // the first segment
  std::span<const int32_t> answer() const;         // all tokens behind the prompt
  // Returns the policy's tokens, which are scored and trained on.
  TokenRanges policy_ranges() const;
  int64_t policy_tokens() const { return std::ssize(old_logprobs); }
};

}  // namespace r1
