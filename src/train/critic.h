// train/critic.h: PPO's critic: a model of the policy's architecture whose head gives one number per token, the
// reward that the rest of the answer is expected to bring.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "model/model.h"
#include "model/scoring.h"
#include "train/grpo.h"
#include "train/memory.h"
#include "train/ppo_loss.h"
#include "train/rollout.h"

namespace r1 {

// Returns the critic before its first update: the values of `critic.model` (of the policy, if it names none) and,
// unless that is a value model, a head of zeros. That model is of the policy's architecture (critic_difference).
Model new_critic(const Model& policy, const CriticConfig& config);

// Returns how `critic` differs from the architecture of `policy`: "hidden_size is 64; the policy's is 128", or "" if it
// does not.
std::string critic_difference(const ModelConfig& policy, const ModelConfig& critic);

// The memory of the critic of a policy of this shape, without activations.
CriticMemory critic_memory(const ModelConfig& policy, Numerics numerics);

// The figures of a step's samples, taken before its first update; masked samples are left out.
struct ValueFigures {
  Moments values, returns, advantages;  // advantages before they are normalised: R - V
};

// Sets the values, returns and advantages of all samples. `values` holds the critic's values of the policy's
// tokens, one list per sample.
ValueFigures set_advantages(std::span<Rollout> rollouts, std::vector<std::vector<float>> values,
                            const GrpoConfig& config);

class Critic {
 public:
  // Its updates are as many as the policy's: epochs x minibatches per step.
  Critic(const Model& policy, const GrpoConfig& config);

  std::vector<std::vector<float>> values(Lanes& lanes, std::span<const ScoredRow> rows) const;
  // Adds the minibatch's gradients to the critic's parameters.
  ValueLoss differentiate(Lanes& lanes, std::span<const Rollout> minibatch);
  Optimizer::Result update(Lanes& lanes);
  const Model& model() const { return model_; }

  // critic/ in a checkpoint: a Hugging Face directory (one label per token) and optimizer.safetensors.
  void save(const std::filesystem::path& checkpoint) const;
  void load(const std::filesystem::path& checkpoint, int64_t updates);

 private:
  const GrpoConfig& config_;
  Model model_;
  Optimizer optimizer_;
};

}  // namespace r1
