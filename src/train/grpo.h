// train/grpo.h: R1-Zero: reinforcement learning on problems whose answers can be checked, with GRPO.
//
// A step has four parts:
//   1. Sample a group of answers to each prompt with the current weights.
//   2. Score the same tokens with the trainer's forward before any update. The difference to the sampler's
//      log-probs must be exactly 0 and is logged.
//   3. Compute rewards and advantages.
//   4. Make one update per minibatch, in index order.
// With a critic it is PPO: between 2 and 3, the critic values every token, and advantages are those of
// train/ppo_loss.h; each minibatch then updates the critic too (train/critic.h).
//
// Prompts, samples and their random numbers are functions of (seed, step, index), so a resumed run repeats
// the killed one to the bit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/problem_source.h"
#include "data/task.h"
#include "engine/engine.h"
#include "engine/model_bundle.h"
#include "engine/prompt_format.h"
#include "engine/sampling_settings.h"
#include "formats/config_file.h"
#include "reward/reward_config.h"
#include "train/grpo_loss.h"
#include "train/memory.h"
#include "train/optimizer.h"
#include "train/reporter.h"
#include "train/rollout.h"
#include "train/run_directory.h"
#include "train/train_options.h"

namespace r1 {

// [critic] of a PPO stage.
struct CriticConfig {
  std::string model = {};          // whose weights it begins with; "": the policy's
  OptimizerConfig optimizer = {};  // its own
  double gamma = 1.0, lambda = 1.0;
  double value_clip = 0.2;  // 0: values are not clipped
  double reward_kl = 0;     // weight of the penalty in every token's reward (loss.kl_in = "reward")
  bool normalise = true;    // advantages have mean 0 and deviation 1 over the step's tokens
};

// A GRPO stage, or a PPO stage: it has a critic.
struct GrpoConfig {
  RunConfig run;
  ProblemData data;
  std::optional<ProblemSource> problems;  // set for generated problems; for files, the stage sets it
  PromptFormat prompt;
  OptimizerConfig optimizer;
  CheckpointConfig checkpoint;
  GrpoLossConfig loss;
  int64_t prompts = 32;  // [rollout]
  // `samples` is the size of a group.
  SamplingSettings rollout = {.samples = 16, .prefill_chunk = kRolloutPrefillChunk, .reserve = true};
  int64_t epochs = 1, minibatches = 1;
  int64_t reference_every = 0;  // steps between swaps of the KL's reference; 0: never
  bool mask_overlong =
      false;  // loss.overlong = "mask": answers cut off at rollout.max_tokens are not trained on
  RewardConfig reward;
  bool dynamic_filter = false;  // [filter] dynamic: train on groups whose rewards differ
  int64_t filter_rounds = 4;    // the largest number of sampling rounds per step
  int64_t micro_tokens = 4096;
  bool recompute = false;      // batch.recompute: activation checkpointing (ScoringOptions)
  int64_t samples_every = 10;  // steps between those whose rollouts are written to samples.jsonl; 0: none
  std::optional<CriticConfig> critic = {};

  // A frozen copy of the policy scores every rollout.
  bool has_reference() const { return loss.kl > 0 || (critic && critic->reward_kl > 0); }
};
GrpoConfig read_grpo_config(ConfigFile& config);
GrpoConfig read_ppo_config(ConfigFile& config);

struct GrpoHooks {
  // Called between sampling and scoring. A test uses it to show that the comparison of the two can fail.
  std::function<void(Model&)> after_sampling;
};

// Trains bundle.model in `run` and writes it to OUT/model. `memory` is the estimate of a step. Throws Error
// or Stopped.
void grpo(ModelBundle& bundle, const GrpoConfig& config, RunDirectory& run, const MemoryEstimate& memory,
          ThreadPool& threads, Reporter& reporter, const TrainOptions& options, const GrpoHooks& hooks = {});

}  // namespace r1
