// train/grpo_step.h: one GRPO step, apart from files and reporting.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "model/scoring.h"
#include "train/grpo.h"

namespace r1 {

// Means over the step's samples or scored tokens; times in seconds.
struct GrpoStepResult {
  int64_t tokens = 0;  // prompt and answer tokens run through the trainer
  double loss = 0;
  double reward = 0, accuracy = 0, format = 0;
  double length = 0;            // answer tokens a sample
  double thinking_correct = 0;  // tokens of thought of correct, untruncated samples
  double entropy = 0, kl = 0, clip_fraction = 0, truncated = 0;
  double flat_groups = 0;  // share of groups whose rewards are all equal
  double sampler_trainer_kl = 0, sampler_trainer_max_abs = 0;
  Optimizer::Result update;  // of the step's last minibatch
  double sample_s = 0, verify_s = 0, score_s = 0, train_s = 0, update_s = 0, step_s = 0;
};

class GrpoTrainer {
 public:
  GrpoTrainer(ModelBundle& bundle, const GrpoConfig& config, ThreadPool& threads);

  GrpoStepResult step(int64_t step, const GrpoHooks& hooks);
  const std::vector<Problem>& problems() const { return problems_; }
  const std::vector<Rollout>& rollouts() const { return rollouts_; }

  void save(const std::filesystem::path& directory) const;
  void load(const std::filesystem::path& directory, int64_t step);

 private:
  void sample(int64_t step, GrpoStepResult& result);
  void judge(GrpoStepResult& result);
  void compare(const std::vector<std::vector<float>>& scored, size_t first, GrpoStepResult& result) const;
  void update(std::span<Rollout> minibatch, bool compare_first, GrpoStepResult& result);
  std::vector<ScoredRow> rows_of(std::span<const Rollout> rollouts) const;

  ModelBundle& bundle_;
  const GrpoConfig& config_;
  ThreadPool& threads_;
  Optimizer optimizer_;
  std::optional<Model> reference_;
  Arena arena_;
  Tape tape_;
  Context sampling_;  // no tape
  Engine engine_;
  std::vector<Problem> problems_;
  std::vector<Rollout> rollouts_;
  int64_t scored_tokens_ = 0;
};

}  // namespace r1
