// train/grpo_rollouts.h: a step's problems, samples, rewards and advantages; which groups are trained on.
//
// Problems are numbered through the whole run. A round samples `prompts` problems, a group each; without
// [filter] dynamic a step is one round. With it (DAPO's dynamic sampling), groups whose rewards are all equal
// are dropped and rounds follow until `prompts` groups are there or `rounds` have been made; where none has a
// signal, the last round stands.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/engine.h"
#include "engine/model_bundle.h"
#include "train/grpo.h"

namespace r1 {

// Sums over all samples of a step, dropped groups included, but for thinking (correct samples).
struct RolloutTotals {
  int64_t samples = 0, problems = 0, flat_groups = 0;
  int64_t tokens = 0;          // of answers
  int64_t sampled_tokens = 0;  // run through the sampler: answers, and each prompt once
  int64_t correct = 0, well_formed = 0, truncated = 0, thinking = 0;
  double reward = 0;
  double verify_s = 0;
};

struct RolloutSet {
  std::vector<Problem> problems;  // of the groups that are trained on
  std::vector<Rollout> rollouts;  // in groups, in order of the problems
  RolloutTotals totals;
};

// first_problem: the first that no step has seen; the set's totals.problems follow from it. Throws
// StepAbandoned when `stop`, asked as each answer ends, says so.
RolloutSet collect_rollouts(const ModelBundle& bundle, Engine& engine, const GrpoConfig& config, int64_t step,
                            int64_t first_problem, const std::function<bool()>& stop);

}  // namespace r1
