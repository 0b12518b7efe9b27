#include "train/ppo_loss.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace r1 {

std::vector<double> token_rewards(double reward, std::span<const float> old, std::span<const float> ref,
                                  double kl) {
  R1_CHECK(!old.empty() && (kl == 0 || ref.size() == old.size()), old.size(), " log-probs, ", ref.size(),
           " of the reference");
  std::vector<double> rewards(old.size());
  if (kl != 0) {
    for (size_t t = 0; t < old.size(); ++t)
      rewards[t] = -kl * (static_cast<double>(old[t]) - static_cast<double>(ref[t]));
  }
  rewards.back() += reward;
  return rewards;
}

std::vector<double> generalised_advantages(std::span<const double> rewards, std::span<const float> values,
                                           double gamma, double lambda) {
  R1_CHECK(rewards.size() == values.size(), rewards.size(), " rewards, ", values.size(), " values");
  std::vector<double> advantages(values.size());
  double later = 0, next_value = 0;
  for (size_t t = values.size(); t-- > 0;) {
    const auto value = static_cast<double>(values[t]);
    later = rewards[t] + gamma * next_value - value + gamma * lambda * later;
    advantages[t] = later;
    next_value = value;
  }
  return advantages;
}

void Moments::add(double x) {
  if (count++ == 0) first = x;
  sum += x - first;
  squares += (x - first) * (x - first);
}

double Moments::mean() const {
  return count == 0 ? 0 : first + sum / static_cast<double>(count);
}

double Moments::variance() const {
  if (count == 0) return 0;
  const double n = static_cast<double>(count), distance = sum / n;
  return std::max(0.0, squares / n - distance * distance);
}

void normalise(std::span<double> numbers, const Moments& all) {
  const double mean = all.mean(), deviation = std::sqrt(all.variance());
  for (double& x : numbers) x = (x - mean) / (deviation + 1e-8);
}

double explained_variance(const Moments& returns, const Moments& errors) {
  constexpr double kNothing = 1e-12;  // the rounding errors of equal returns
  const double variance = returns.variance();
  return variance <= kNothing ? 0 : 1 - errors.variance() / variance;
}

ValueLoss value_loss(double clip, std::span<const float> values, std::span<const float> old,
                     std::span<const double> returns, double weight, std::span<double> gradient) {
  const size_t n = values.size();
  R1_CHECK(old.size() == n && returns.size() == n && gradient.size() == n, n, " values, ", old.size(),
           " old, ", returns.size(), " returns, ", gradient.size(), " gradients");
  ValueLoss out;
  for (size_t t = 0; t < n; ++t) {
    const auto value = static_cast<double>(values[t]), before = static_cast<double>(old[t]);
    const double cut = clip > 0 ? std::clamp(value, before - clip, before + clip) : value;
    const double error = value - returns[t], cut_error = cut - returns[t];
    const bool clipped = cut_error * cut_error > error * error;
    const double larger = clipped ? cut_error : error;
    out.loss += weight * 0.5 * larger * larger;
    out.clipped += clipped ? 1 : 0;
    gradient[t] = clipped ? 0.0 : weight * error;
  }
  return out;
}

}  // namespace r1
