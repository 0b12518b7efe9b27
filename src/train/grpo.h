// train/grpo.h: R1-Zero: reinforcement learning on problems whose answers can be checked, with GRPO.
//
// A step: (1) sample a group of answers to each prompt with the current weights; (2) score the same tokens
// with the trainer's forward before any update: the difference to the sampler's log-probs must be exactly 0
// and is logged; (3) rewards and advantages; (4) minibatches in index order, one update each. Prompts,
// samples and their random numbers are functions of (seed, step, index), so a resumed run repeats the killed
// one to the bit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/task.h"
#include "engine/engine.h"
#include "engine/model_bundle.h"
#include "formats/config_file.h"
#include "train/grpo_loss.h"
#include "train/grpo_reward.h"
#include "train/optimizer.h"
#include "train/pretrain.h"
#include "train/reporter.h"
#include "train/run_directory.h"
#include "train/train_options.h"

namespace r1 {

struct GrpoConfig {
  RunConfig run;
  std::string task = "countdown3";
  OptimizerConfig optimizer;
  CheckpointConfig checkpoint;
  GrpoLossConfig loss;
  int64_t prompts = 32, group = 16, max_tokens = 256;  // [rollout]
  double temperature = 1.0, top_p = 1.0;
  int64_t epochs = 1, minibatches = 1;
  int64_t reference_every = 0;  // steps between swaps of the KL's reference; 0: never
  bool mask_overlong = false;   // loss.overlong = "mask": answers cut off at max_tokens are not trained on
  RewardConfig reward;
  bool dynamic_filter = false;  // [filter] dynamic: train on groups whose rewards differ
  int64_t filter_rounds = 4;    // the most rounds of sampling a step
  int64_t micro_tokens = 4096;
  int64_t engine_batch = 512;
  int64_t samples_every = 10;  // steps between those whose rollouts are written to samples.jsonl; 0: none
};
GrpoConfig read_grpo_config(ConfigFile& config);

// One sampled answer and all that the step makes of it.
struct Rollout {
  int64_t problem = 0;  // of the step's list
  uint32_t prompt = 0;  // its random key's: the problem's place among all that the step sampled
  int64_t sample = 0;
  std::vector<int32_t> tokens;  // prompt, then answer
  int64_t prompt_size = 0;
  std::string opening;              // of the thought, by the prompt: see ChatPrompt
  std::vector<float> old_logprobs;  // the sampler's, one an answer token
  std::vector<float> ref_logprobs;
  FinishReason finish = FinishReason::length;
  bool correct = false, well_formed = false;
  std::string why;
  double reward = 0, advantage = 0;
  bool masked = false;  // no part of the loss
};

struct GrpoHooks {
  // For the test that the comparison of sampler and trainer can fail: called between the two.
  std::function<void(Model&)> after_sampling;
};

// Trains bundle.model and leaves it in OUT/model. Throws Error; Stopped.
void grpo(ModelBundle& bundle, const GrpoConfig& config, ConfigFile& file, ThreadPool& threads,
          Reporter& reporter, const TrainOptions& options, const GrpoHooks& hooks = {});

}  // namespace r1
