// train/grpo_reward.h: the reward of a sample.
//
//   reward = accuracy [correct] + format [well formed] + overlong o + brevity b
//   o in [-1, 0]   DAPO's soft punishment (2503.14476): 0 up to cap - overlong_tokens answer tokens, then
//                  falling linearly to -1 at the cap
//   b in [-1, 1]   correct answers only: (m - n) / m, with n the answer's tokens and m the mean of the
//                  group's correct answers. So a wrong answer gains nothing by being short, and the b of a
//                  group sum to 0 unless one is clipped.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace r1 {

struct RewardConfig {
  double accuracy = 1, format = 0, overlong = 0, brevity = 0;
  int64_t overlong_tokens = 0;  // before the cap; at least 1 if overlong is not 0
};

struct Judged {
  bool correct = false, well_formed = false;
  int64_t tokens = 0;  // of the answer
};

// Returns the rewards of samples in consecutive groups of `group`. `cap` is the largest number of answer
// tokens.
std::vector<double> rewards_of(const RewardConfig& config, std::span<const Judged> samples, int64_t group,
                               int64_t cap);

}  // namespace r1
