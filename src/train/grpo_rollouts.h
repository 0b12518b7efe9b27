// train/grpo_rollouts.h: a step's problems, samples, rewards and advantages, and the choice of groups.
//
// Problems are numbered through the whole run. A round samples one group for each of `prompts` problems.
// Without [filter] dynamic a step is one round. With it (DAPO's dynamic sampling), groups whose rewards are
// all equal are dropped, and more rounds are sampled until `prompts` groups are left or `rounds` rounds have
// been made. If no group is left then, the last round is used whole.
//
// A sample whose verifier failed is masked: it has no advantage and no loss, and its group's mean and
// deviation are those of the other samples. A step throws Error if the verifier failed for every sample that
// it was asked about, and these are at least kTooManyFailures samples or all samples of the step.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/model_bundle.h"
#include "reward/reward.h"
#include "train/grpo.h"

namespace r1 {

inline constexpr int64_t kTooManyFailures = 8;

// Sums over all samples of a step, dropped groups included. `thinking` counts correct samples only.
struct RolloutTotals {
  int64_t samples = 0, problems = 0, flat_groups = 0;
  int64_t tokens = 0;          // that the policy sampled
  int64_t sampled_tokens = 0;  // tokens run through the sampler: answers, and each prompt once
  int64_t correct = 0, well_formed = 0, truncated = 0, thinking = 0;
  // Samples whose verifier failed. They count only in samples, tokens, sampled_tokens and truncated.
  int64_t failed = 0;
  int64_t asked = 0;  // samples that a verifier was asked about: failed ones, and those that were not cut off
  std::vector<std::string> failures;  // the first few failures: prompt, sample and reason
  double reward = 0;
  double verify_s = 0;
};

struct RolloutSet {
  std::vector<Problem> problems;  // of the groups that are trained on
  std::vector<Rollout> rollouts;  // in groups, in order of the problems
  RolloutTotals totals;
};

// Thrown if the verifier failed for every sample that it was asked about. The message quotes the first
// failure.
class NothingJudged : public Error {
 public:
  using Error::Error;
};

// A step as its rollouts see it.
struct RolloutStep {
  int64_t step = 0;           // in the random keys
  int64_t first_problem = 0;  // the first problem that no earlier step has used
  int64_t weights = 0;        // the version of the weights (train/rollout.h)
};

// The step uses totals.problems problems from at.first_problem on. `stop` is called as each answer ends and
// while answers are judged; throws StepAbandoned if it returns true.
RolloutSet collect_rollouts(const ModelBundle& bundle, Engine& engine, Reward& reward, ThreadPool& threads,
                            const GrpoConfig& config, const RolloutStep& at,
                            const std::function<bool()>& stop);

// Returns a rollout's row of samples.jsonl. `weights` is the SHA-256 of the weights that sampled it. A
// rollout with text of the environment behind its prompt also has "segments".
Json rollout_row(const Rollout& rollout, const Problem& problem, int64_t step, const std::string& weights,
                 const Tokenizer& tokenizer, const GrpoConfig& config);

}  // namespace r1
