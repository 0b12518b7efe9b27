#include "train/grpo_reward.h"

#include <algorithm>

#include "base/error.h"

namespace r1 {
namespace {

double overlong(int64_t tokens, int64_t cap, int64_t before) {
  const int64_t over = tokens - (cap - before);
  return over <= 0 ? 0.0 : -static_cast<double>(over) / static_cast<double>(before);
}

// Mean tokens of the group's correct answers; 0 where there is none.
double mean_correct(std::span<const Judged> group) {
  double tokens = 0, count = 0;
  for (const Judged& s : group) {
    if (s.correct) tokens += static_cast<double>(s.tokens), count += 1;
  }
  return count == 0 ? 0 : tokens / count;
}

}  // namespace

std::vector<double> rewards_of(const RewardConfig& config, std::span<const Judged> samples, int64_t group,
                               int64_t cap) {
  R1_CHECK(group >= 1 && static_cast<int64_t>(samples.size()) % group == 0, samples.size(),
           " samples in groups of ", group);
  R1_CHECK(config.overlong == 0 || config.overlong_tokens >= 1, "overlong_tokens ", config.overlong_tokens);
  std::vector<double> rewards;
  for (size_t begin = 0; begin < samples.size(); begin += static_cast<size_t>(group)) {
    const auto g = samples.subspan(begin, static_cast<size_t>(group));
    const double mean = mean_correct(g);
    for (const Judged& s : g) {
      double reward = config.accuracy * (s.correct ? 1 : 0) + config.format * (s.well_formed ? 1 : 0);
      if (config.overlong != 0) reward += config.overlong * overlong(s.tokens, cap, config.overlong_tokens);
      if (config.brevity != 0 && s.correct)
        reward += config.brevity * std::clamp((mean - static_cast<double>(s.tokens)) / mean, -1.0, 1.0);
      rewards.push_back(reward);
    }
  }
  return rewards;
}

}  // namespace r1
