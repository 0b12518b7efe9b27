#include "train/critic.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <string_view>

#include "base/error.h"
#include "model/gguf_config.h"
#include "train/grpo_update.h"

namespace r1 {
namespace {

// The size of a minibatch in samples and tokens; masked samples do not count.
struct Unmasked {
  std::vector<const Rollout*> rollouts;
  int64_t tokens = 0;
};

Unmasked unmasked(std::span<const Rollout> minibatch) {
  Unmasked out;
  for (const Rollout& r : minibatch) {
    if (r.masked) continue;
    out.rollouts.push_back(&r);
    out.tokens += r.policy_tokens();
  }
  return out;
}

}  // namespace

std::string critic_difference(const ModelConfig& policy, const ModelConfig& critic) {
  // The head's settings, and those that tokenizers and files add, are no part of the trunk.
  const std::set<std::string_view> free = {"architectures",       "id2label",         "label2id",
                                           "tie_word_embeddings", "torch_dtype",      "bos_token_id",
                                           "eos_token_id",        "initializer_range"};
  const Json want = to_json(policy), given = to_json(critic);
  for (const auto& [key, value] : want.members()) {
    if (free.contains(key)) continue;
    const Json* other = given.find(key);
    if (other == nullptr || !(*other == value))
      return fmt::format("{} is {}; the policy's is {}", key, other == nullptr ? "not set" : other->dump(),
                         value.dump());
  }
  return "";
}

CriticMemory critic_memory(const ModelConfig& policy, Numerics numerics) {
  const MemoryEstimate m = trained_model(value_model_config(policy), numerics);
  return {.weights = m.weights, .gradients = m.gradients, .optimizer = m.optimizer, .packed = m.packed};
}

Model new_critic(const Model& policy, const CriticConfig& config) {
  if (config.model.empty()) return Model::value_model(policy);
  const ModelConfig shape = load_model_config(config.model);
  if (shape.value_head) return Model::load_value_model(config.model, policy.memory());
  return Model::value_model(Model::load(config.model, DType::f32, WeightUse::inference, policy.memory()));
}

ValueFigures set_advantages(std::span<Rollout> rollouts, std::vector<std::vector<float>> values,
                            const GrpoConfig& config) {
  R1_CHECK(config.critic && values.size() == rollouts.size(), values.size(), " lists of values");
  ValueFigures figures;
  for (size_t i = 0; i < rollouts.size(); ++i) {
    Rollout& r = rollouts[i];
    r.values = std::move(values[i]);
    const std::vector<double> rewards =
        token_rewards(r.reward, r.old_logprobs, r.ref_logprobs, config.critic->reward_kl);
    r.advantages = generalised_advantages(rewards, r.values, config.critic->gamma, config.critic->lambda);
    r.returns = r.advantages;
    for (size_t t = 0; t < r.returns.size(); ++t) r.returns[t] += static_cast<double>(r.values[t]);
    if (r.masked) continue;
    for (size_t t = 0; t < r.returns.size(); ++t) {
      figures.values.add(static_cast<double>(r.values[t]));
      figures.returns.add(r.returns[t]);
      figures.advantages.add(r.advantages[t]);
    }
  }
  for (Rollout& r : rollouts) {
    if (r.masked) std::ranges::fill(r.advantages, 0.0);
    if (!r.masked && config.critic->normalise) normalise(r.advantages, figures.advantages);
    const double sum = std::accumulate(r.advantages.begin(), r.advantages.end(), 0.0);
    r.advantage = sum / static_cast<double>(r.advantages.size());
  }
  return figures;
}

Critic::Critic(const Model& policy, const GrpoConfig& config)
    : config_(config),
      model_(new_critic(policy, *config.critic)),
      optimizer_(model_, by_updates(config.critic->optimizer, config.epochs * config.minibatches)) {}

std::vector<std::vector<float>> Critic::values(Lanes& lanes, std::span<const ScoredRow> rows) const {
  return score(model_, lanes, rows, rollout_scoring(config_));
}

ValueLoss Critic::differentiate(Lanes& lanes, std::span<const Rollout> minibatch) {
  const Unmasked batch = unmasked(minibatch);
  std::vector<ScoredRow> rows;
  for (const Rollout* r : batch.rollouts) rows.emplace_back(r->tokens, r->policy_ranges());
  std::vector<ValueLoss> losses(rows.size());
  if (rows.empty()) return {};
  r1::differentiate(model_, lanes, rows, rollout_scoring(config_), [&](const RowGradient& row) {
    const Rollout& r = *batch.rollouts[row.row];
    std::vector<double> gradient(r.values.size());
    const double weight = token_weight(config_.loss.aggregate, r.policy_tokens(), std::ssize(batch.rollouts),
                                       batch.tokens, config_.rollout.max_tokens);
    losses[row.row] =
        value_loss(config_.critic->value_clip, row.logprobs, r.values, r.returns, weight, gradient);
    std::ranges::transform(gradient, row.gradient.begin(), [](double g) { return static_cast<float>(g); });
  });
  ValueLoss sum;
  for (const ValueLoss& loss : losses) {
    sum.loss += loss.loss;
    sum.clipped += loss.clipped;
  }
  return sum;
}

Optimizer::Result Critic::update(Lanes& lanes) {
  Context ctx = lanes.context();
  return optimizer_.update(ctx);
}

void Critic::save(const std::filesystem::path& checkpoint) const {
  std::filesystem::create_directory(checkpoint / "critic");
  model_.save(checkpoint / "critic", DType::f32);
  optimizer_.save(checkpoint / "critic");
}

void Critic::load(const std::filesystem::path& checkpoint, int64_t updates) {
  model_.read_weights(checkpoint / "critic");
  optimizer_.load(checkpoint / "critic", updates);
}

}  // namespace r1
