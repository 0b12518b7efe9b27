#include "train/grpo_loss.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/math.h"

namespace r1 {

std::vector<double> group_advantages(std::span<const double> rewards, int64_t group, Normalise normalise) {
  R1_CHECK(group >= 1 && static_cast<int64_t>(rewards.size()) % group == 0, rewards.size(),
           " rewards in groups of ", group);
  std::vector<double> out;
  for (size_t begin = 0; begin < rewards.size(); begin += static_cast<size_t>(group)) {
    const auto r = rewards.subspan(begin, static_cast<size_t>(group));
    double mean = 0, variance = 0;
    for (const double x : r) mean += x / static_cast<double>(group);
    for (const double x : r) variance += (x - mean) * (x - mean) / static_cast<double>(group);
    // Equal rewards teach nothing; without this, rounding of the mean would be divided by 1e-6.
    const bool equal = std::ranges::all_of(r, [&](double x) { return x == r.front(); });
    const double scale = equal                           ? 0.0
                         : normalise == Normalise::group ? 1.0 / (std::sqrt(variance) + 1e-6)
                                                         : 1.0;
    for (const double x : r) out.push_back((x - mean) * scale);
  }
  return out;
}

TokenLoss token_loss(const GrpoLossConfig& config, double logp, double old, double ref, double advantage) {
  TokenLoss out;
  const double ratio = exact_exp(logp - old);
  const double clipped = std::clamp(ratio, 1.0 - config.clip_low, 1.0 + config.clip_high);
  // The minimum takes the clipped branch only where it is the smaller one: then the token gives no gradient.
  out.clipped = clipped * advantage < ratio * advantage;
  out.loss = -std::min(ratio * advantage, clipped * advantage);
  out.gradient = out.clipped ? 0.0 : -ratio * advantage;
  if (config.kl > 0) {
    const double d = ref - logp;
    const double e = exact_exp(d);
    out.kl = e - d - 1.0;
    out.loss += config.kl * out.kl;
    out.gradient += config.kl * (1.0 - e);
  }
  return out;
}

}  // namespace r1
