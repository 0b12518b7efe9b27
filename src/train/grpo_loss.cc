#include "train/grpo_loss.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/math.h"

namespace r1 {
namespace {

double mean_of(std::span<const double> values) {
  double sum = 0;
  for (const double v : values) sum += v / static_cast<double>(values.size());
  return sum;
}

double deviation_of(std::span<const double> values) {
  const double mean = mean_of(values);
  double variance = 0;
  for (const double v : values) variance += (v - mean) * (v - mean) / static_cast<double>(values.size());
  return std::sqrt(variance);
}

// One ratio's share of the loss, and its derivative with respect to the ratio's logarithm (for cispo, to
// logp_t).
struct SurrogateTerm {
  double loss = 0, gradient = 0;
  bool clipped = false;
};

SurrogateTerm surrogate_term(const GrpoLossConfig& config, double ratio, double advantage, double logp) {
  const double clipped = std::clamp(ratio, 1.0 - config.clip_low, 1.0 + config.clip_high);
  if (config.surrogate == Surrogate::cispo) {
    return {-clipped * advantage * logp, -clipped * advantage, clipped != ratio};
  }
  // If the clipped branch is smaller, the minimum takes it, and the gradient is 0.
  const bool cut = clipped * advantage < ratio * advantage;
  return {-std::min(ratio * advantage, clipped * advantage), cut ? 0.0 : -ratio * advantage, cut};
}

}  // namespace

std::vector<double> group_advantages(std::span<const double> rewards, int64_t group, Normalise normalise) {
  return group_advantages(rewards, std::vector<bool>(rewards.size()), group, normalise);
}

std::vector<double> group_advantages(std::span<const double> rewards, const std::vector<bool>& left_out,
                                     int64_t group, Normalise normalise) {
  R1_CHECK(group >= 1 && static_cast<int64_t>(rewards.size()) % group == 0, rewards.size(),
           " rewards in groups of ", group);
  R1_CHECK(left_out.size() == rewards.size(), left_out.size(), " marks for ", rewards.size(), " rewards");
  const auto counted = [&](size_t begin, size_t end) {
    std::vector<double> out;
    for (size_t i = begin; i < end; ++i) {
      if (!left_out[i]) out.push_back(rewards[i]);
    }
    return out;
  };
  const double batch = normalise == Normalise::batch ? deviation_of(counted(0, rewards.size())) : 0;
  std::vector<double> out(rewards.size());
  const auto size = static_cast<size_t>(group);
  for (size_t begin = 0; begin < rewards.size(); begin += size) {
    const std::vector<double> r = counted(begin, begin + size);
    const double mean = mean_of(r);
    // Equal rewards teach nothing. Without this test the rounding error of their mean would be divided by
    // 1e-6.
    const bool equal = std::ranges::all_of(r, [&](double x) { return x == r.front(); });
    double scale = 0;
    if (!equal && normalise == Normalise::none) scale = 1;
    if (!equal && normalise == Normalise::group) scale = 1 / (deviation_of(r) + 1e-6);
    if (!equal && normalise == Normalise::batch) scale = 1 / (batch + 1e-6);
    for (size_t i = begin; i < begin + size; ++i) {
      if (!left_out[i]) out[i] = (rewards[i] - mean) * scale;
    }
  }
  return out;
}

double token_weight(Aggregate aggregate, int64_t tokens, int64_t samples, int64_t all_tokens, int64_t cap) {
  switch (aggregate) {
    case Aggregate::token:
      return 1.0 / static_cast<double>(all_tokens);
    case Aggregate::sequence:
      return 1.0 / static_cast<double>(tokens * samples);
    case Aggregate::constant:
      return 1.0 / static_cast<double>(samples * cap);
  }
  return 0;
}

SampleLoss sample_loss(const GrpoLossConfig& config, std::span<const float> logp, std::span<const float> old,
                       std::span<const float> ref, double advantage, double weight,
                       std::span<double> gradient) {
  return sample_loss(config, logp, old, ref, std::vector<double>(logp.size(), advantage), weight, gradient);
}

SampleLoss sample_loss(const GrpoLossConfig& config, std::span<const float> logp, std::span<const float> old,
                       std::span<const float> ref, std::span<const double> advantages, double weight,
                       std::span<double> gradient) {
  const size_t n = logp.size();
  R1_CHECK(old.size() == n && gradient.size() == n && advantages.size() == n, n, " log-probs, ", old.size(),
           " old, ", gradient.size(), " gradients, ", advantages.size(), " advantages");
  R1_CHECK(ref.size() == n || (config.kl == 0 && ref.empty()), n, " log-probs, ", ref.size(),
           " of the reference");
  const auto difference = [&](size_t t) {
    return static_cast<double>(logp[t]) - static_cast<double>(old[t]);
  };
  double log_ratio = 0;  // of the whole sample, for the sequence ratios
  for (size_t t = 0; t < n; ++t) log_ratio += difference(t);
  if (config.ratio == Ratio::sequence_mean) log_ratio /= static_cast<double>(n);
  // Each token's log-prob changes a sequence's ratio, fully or by 1/n for the mean. The n equal terms of a
  // sample together give each token n times (or once) the derivative of one term.
  const double moved =
      config.ratio == Ratio::sequence && config.surrogate == Surrogate::ppo ? static_cast<double>(n) : 1;
  SampleLoss out;
  for (size_t t = 0; t < n; ++t) {
    const double ratio = exact_exp(config.ratio == Ratio::token ? difference(t) : log_ratio);
    const SurrogateTerm term = surrogate_term(config, ratio, advantages[t], static_cast<double>(logp[t]));
    double loss = term.loss, slope = term.gradient * moved;
    out.clipped += term.clipped ? 1 : 0;
    if (!ref.empty()) {
      const double d = static_cast<double>(ref[t]) - static_cast<double>(logp[t]);
      const double e = exact_exp(d);
      out.kl += e - d - 1.0;
      if (config.kl > 0) {
        loss += config.kl * (e - d - 1.0);
        slope += config.kl * (1.0 - e);
      }
    }
    out.loss += weight * loss;
    gradient[t] = weight * slope;
  }
  return out;
}

}  // namespace r1
