#include "train/grpo_update.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "train/grpo_loss.h"

namespace r1 {
namespace {

ScoredRow scored_row(const Rollout& rollout) {
  return {rollout.tokens, rollout.policy_ranges()};
}

}  // namespace

std::vector<ScoredRow> scored_rows(std::span<const Rollout> rollouts) {
  std::vector<ScoredRow> rows;
  for (const Rollout& r : rollouts) rows.push_back(scored_row(r));
  return rows;
}

ScoringOptions rollout_scoring(const GrpoConfig& config) {
  return {.temperature = config.rollout.params.temperature,
          .micro_tokens = config.micro_tokens,
          .recompute = config.recompute};
}

RolloutFigures compared(std::span<const float> scored, const Rollout& rollout) {
  const std::vector<float>& old = rollout.old_logprobs;
  R1_CHECK(old.size() == scored.size(), old.size(), " and ", scored.size(), " log-probs");
  RolloutFigures figures;
  for (size_t t = 0; t < old.size(); ++t) {
    const double d = static_cast<double>(scored[t]) - static_cast<double>(old[t]);
    figures.max_abs = std::max(figures.max_abs, std::fabs(d));
    figures.sampler_kl += std::exp(d) - d - 1.0;
  }
  return figures;
}

MinibatchFigures differentiate_minibatch(Model& model, Lanes& lanes, std::span<const Rollout> minibatch,
                                         const GrpoConfig& config, bool compare_first) {
  std::vector<const Rollout*> rollouts, idle;
  int64_t tokens = 0, samples = 0;
  for (const Rollout& r : minibatch) {
    const bool moves = !r.masked && (config.critic || r.advantage != 0 || config.loss.kl > 0);
    (moves ? rollouts : idle).push_back(&r);
    samples += r.masked ? 0 : 1;
    tokens += r.masked ? 0 : r.policy_tokens();
  }
  const size_t moving = rollouts.size();
  rollouts.insert(rollouts.end(), idle.begin(), idle.end());
  MinibatchFigures out{.rollouts = std::vector<RolloutFigures>(rollouts.size()), .moves = moving > 0};
  if (rollouts.empty()) return out;
  std::vector<ScoredRow> rows;
  for (const Rollout* r : rollouts) rows.push_back(scored_row(*r));
  const auto set = [&](const RowGradient& row) {
    const Rollout& r = *rollouts[row.row];
    RolloutFigures& figures = out.rollouts[row.row];
    if (compare_first) figures = compared(row.logprobs, r);
    for (const float e : row.entropy) figures.entropy += static_cast<double>(e);
    if (row.row >= moving) return;
    std::vector<double> gradient(r.old_logprobs.size());
    const double weight =
        token_weight(config.loss.aggregate, r.policy_tokens(), samples, tokens, config.rollout.max_tokens);
    const SampleLoss loss = config.critic ? sample_loss(config.loss, row.logprobs, r.old_logprobs,
                                                        r.ref_logprobs, r.advantages, weight, gradient)
                                          : sample_loss(config.loss, row.logprobs, r.old_logprobs,
                                                        r.ref_logprobs, r.advantage, weight, gradient);
    std::ranges::transform(gradient, row.gradient.begin(), [](double g) { return static_cast<float>(g); });
    figures.loss = loss.loss;
    figures.kl = loss.kl;
    figures.clipped = loss.clipped;
  };
  ScoringOptions options = rollout_scoring(config);
  options.entropy = true;
  differentiate(model, lanes, rows, options, set, {}, idle.size());
  return out;
}

}  // namespace r1
