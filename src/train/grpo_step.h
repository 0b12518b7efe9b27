// train/grpo_step.h: one GRPO step, apart from files and reporting.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "train/critic.h"
#include "train/grpo.h"
#include "train/grpo_rollouts.h"
#include "train/grpo_update.h"
#include "train/memory.h"

namespace r1 {

// Means over all samples of the step, or over the trained tokens; times in seconds.
struct CriticResult {
  double value_loss = 0, value_clip_fraction = 0;
  double explained_variance = 0, value = 0, advantage_mean = 0, advantage_std = 0;  // before the first update
  Optimizer::Result update;  // the step's last minibatch
  double value_s = 0, train_s = 0, update_s = 0;
};

struct GrpoStepResult {
  int64_t tokens = 0;          // in the rows trained on; a prompt counts once per answer, though it runs once
  int64_t sampled_tokens = 0;  // run through the sampler
  int64_t problems = 0;        // sampled
  double loss = 0;
  double reward = 0, accuracy = 0, format = 0;
  double length = 0;            // answer tokens per sample
  double thinking_correct = 0;  // thought tokens of correct, untruncated samples
  double entropy = 0, kl = 0, clip_fraction = 0, truncated = 0;
  double verifier_failed = 0;  // share of samples; reward, accuracy and format are means over the rest
  double flat_groups = 0;      // share of groups whose rewards are all equal
  double sampler_trainer_kl = 0, sampler_trainer_max_abs = 0;
  Optimizer::Result update;  // the step's last minibatch
  double sample_s = 0, verify_s = 0, score_s = 0, train_s = 0, update_s = 0;
  std::optional<CriticResult> critic;
};

// Estimates the memory of a step with prompts like the run's first and every answer at its longest.
MemoryEstimate memory_of(const ModelBundle& bundle, const GrpoConfig& config, ThreadPool& threads);

class GrpoTrainer {
 public:
  GrpoTrainer(ModelBundle& bundle, const GrpoConfig& config, ThreadPool& threads);

  // `first_problem` is the first problem that no earlier step has used. Throws StepAbandoned if `stop`
  // returns true while answers are sampled; no weight has changed then.
  GrpoStepResult step(int64_t step, int64_t first_problem, const GrpoHooks& hooks,
                      const std::function<bool()>& stop);
  int64_t updates() const { return optimizer_.steps_done(); }
  const std::vector<Problem>& problems() const { return set_.problems; }
  const std::vector<Rollout>& rollouts() const { return set_.rollouts; }
  // Lines on what went wrong while the last step's samples were judged.
  std::vector<std::string> judging_notes(int64_t step);

  // The optimizer's state, the reference of the KL term, and the critic.
  void save(const std::filesystem::path& directory) const;
  void load(const std::filesystem::path& directory, int64_t updates);
  MemoryMeasured memory() const;  // the peaks so far

 private:
  void describe(GrpoStepResult& result) const;
  void judge_tokens(const std::vector<ScoredRow>& rows, GrpoStepResult& result);
  void train_on(std::span<const Rollout> minibatch, bool compare, GrpoStepResult& result);
  void add(const RolloutFigures& row, GrpoStepResult& result) const;

  ModelBundle& bundle_;
  const GrpoConfig& config_;
  ThreadPool& threads_;
  Optimizer optimizer_;
  std::optional<Model> reference_;
  std::optional<Critic> critic_;
  Workspace sampling_;
  Lanes lanes_;
  Engine engine_;
  Reward reward_;
  RolloutSet set_;
  int64_t scored_tokens_ = 0;  // policy tokens of set_
};

}  // namespace r1
