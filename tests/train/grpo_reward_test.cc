// The rewards that samples receive.
#include "train/grpo_reward.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace r1 {
namespace {

TEST(GrpoReward, CorrectnessAndFormatAddUp) {
  const RewardConfig config{.accuracy = 2, .format = 0.5};
  const std::vector<Judged> samples = {{true, true, 5}, {false, true, 5}, {false, false, 5}};
  EXPECT_EQ(rewards_of(config, samples, 3, 10), (std::vector<double>{2.5, 0.5, 0}));
}

TEST(GrpoReward, OverlongFallsLinearlyToTheCap) {
  const RewardConfig config{.accuracy = 0, .overlong = 0.5, .overlong_tokens = 4};
  const std::vector<Judged> samples = {
      {true, true, 15}, {true, true, 16}, {true, true, 17}, {false, true, 20}};
  EXPECT_EQ(rewards_of(config, samples, 4, 20), (std::vector<double>{0, 0, -0.125, -0.5}));
}

TEST(GrpoReward, BrevityComparesTheCorrectAnswersOfAGroupOnly) {
  const RewardConfig config{.accuracy = 1, .brevity = 0.1};
  // The correct answers have 10 and 30 tokens, so their mean is 20. A short wrong answer gets no reward.
  const std::vector<Judged> samples = {
      {true, true, 10}, {true, true, 30}, {false, true, 1}, {false, false, 99}};
  EXPECT_EQ(rewards_of(config, samples, 4, 100), (std::vector<double>{1.05, 0.95, 0, 0}));
  const std::vector<Judged> alone = {{true, true, 10}, {false, true, 3}};
  EXPECT_EQ(rewards_of(config, alone, 2, 100), (std::vector<double>{1, 0}));
  // The last answer is far longer than the mean, but the term stays within its weight.
  std::vector<Judged> many(9, Judged{true, true, 1});
  many.push_back({true, true, 1000});
  EXPECT_DOUBLE_EQ(rewards_of(config, many, 10, 1000).back(), 0.9);
}

}  // namespace
}  // namespace r1
