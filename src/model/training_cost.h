// model/training_cost.h: what the training of DeepSeek-V3 and R1 cost, from the architecture, the published
// numbers of tokens, steps and lengths, and a stated utilisation.
//
// Sources: DeepSeek-V3 (arXiv 2412.19437, sections 4.1, 4.3 and table 1), DeepSeek-R1 (arXiv 2501.12948v2 and
// its supplement). Each step of the sum names what it rests on; what is not published is called assumed.
#pragma once

#include <string>
#include <vector>

#include "model/config.h"

namespace r1 {

struct CostSettings {
  double peak_tflops = 989;       // of an H800, dense bf16
  double utilisation = 0.40;      // of that peak, in training; V3 trains in FP8 and so reaches this share
  double sequence_tokens_s = 40;  // at which the longest answer of a round of RL is sampled
};

struct CostItem {
  std::string stage;  // "V3: pre-training"
  std::string basis;  // "14.8 T tokens (published), 4096 of context"
  bool rl = false;    // of R1; else of V3
  double tokens = 0, flops = 0;
  double gpu_hours = 0;
  double published = 0;  // GPU hours; 0: not published by itself
};

struct TrainingCost {
  std::vector<CostItem> items;
  double v3_hours() const;  // all of V3
  double pretraining_hours() const;
  double r1_hours() const;
  std::vector<std::string> assumed, left_out;
};

inline constexpr double kPublishedV3Hours = 2.788e6, kPublishedPretrainingHours = 2.664e6,
                        kPublishedR1Hours = 0.147e6;

// `config` is DeepSeek-R1's (model/known_models.h).
TrainingCost deepseek_r1_cost(const ModelConfig& config, const CostSettings& settings);

}  // namespace r1
