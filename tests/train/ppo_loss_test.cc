// PPO's arithmetic against slow references: advantages by their sum, losses and gradients by differences.
#include "train/ppo_loss.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"

namespace r1::ppo_loss_test {
namespace {

struct Drawn {
  explicit Drawn(uint64_t seed, int64_t tokens) {
    Random random(seed);
    for (int64_t t = 0; t < tokens; ++t) {
      values.push_back(static_cast<float>(random.normal()));
      rewards.push_back(random.normal());
    }
  }
  std::vector<float> values;
  std::vector<double> rewards;
};

// A_t = sum over k >= t of (gamma lambda)^(k - t) (r_k + gamma V_{k+1} - V_k), V_n = 0.
std::vector<double> advantages_by_sum(const Drawn& d, double gamma, double lambda) {
  const size_t n = d.values.size();
  std::vector<double> out(n);
  for (size_t t = 0; t < n; ++t) {
    for (size_t k = t; k < n; ++k) {
      const double next = k + 1 < n ? static_cast<double>(d.values[k + 1]) : 0.0;
      const double delta = d.rewards[k] + gamma * next - static_cast<double>(d.values[k]);
      out[t] += std::pow(gamma * lambda, static_cast<double>(k - t)) * delta;
    }
  }
  return out;
}

TEST(GeneralisedAdvantages, AreTheSumOfTheirDefinition) {
  for (const int64_t tokens : {1, 2, 7, 200}) {
    for (const auto& [gamma, lambda] : {std::pair(1.0, 1.0), std::pair(0.99, 0.95), std::pair(1.0, 0.0),
                                        std::pair(0.5, 1.0), std::pair(0.0, 0.7)}) {
      const Drawn d(static_cast<uint64_t>(tokens), tokens);
      const std::vector<double> want = advantages_by_sum(d, gamma, lambda),
                                got = generalised_advantages(d.rewards, d.values, gamma, lambda);
      for (size_t t = 0; t < want.size(); ++t)
        EXPECT_NEAR(got[t], want[t], 1e-11) << gamma << " " << lambda << ", token " << t << " of " << tokens;
    }
  }
}

TEST(GeneralisedAdvantages, OfLambdaOneAreTheRestOfTheRewardsLessTheValue) {
  const std::vector<double> rewards{0, 0, 0, 1};
  const std::vector<float> values{0.25f, 0.5f, -0.5f, 0.75f};
  EXPECT_EQ(generalised_advantages(rewards, values, 1, 1), (std::vector<double>{0.75, 0.5, 1.5, 0.25}));
  // With lambda = 0, an advantage is the change of the value.
  EXPECT_EQ(generalised_advantages(rewards, values, 1, 0), (std::vector<double>{0.25, -1.0, 1.25, 0.25}));
}

TEST(TokenRewards, HaveThePenaltyAtEveryTokenAndTheRewardAtTheLast) {
  const std::vector<float> old{-1.0f, -2.0f, -0.5f}, ref{-1.5f, -2.0f, -0.25f};
  EXPECT_EQ(token_rewards(2, old, ref, 0.5), (std::vector<double>{-0.25, 0, 2 + 0.125}));
  EXPECT_EQ(token_rewards(2, old, {}, 0), (std::vector<double>{0, 0, 2}));
}

TEST(Moments, AreThoseOfTheirNumbers) {
  Moments m;
  EXPECT_EQ(m.mean(), 0);
  EXPECT_EQ(m.variance(), 0);
  for (const double x : {1.0, 3.0, 5.0, 7.0}) m.add(x);
  EXPECT_DOUBLE_EQ(m.mean(), 4);
  EXPECT_DOUBLE_EQ(m.variance(), 5);
}

// A mean that is large beside the deviation leaves digits for the latter.
TEST(Moments, OfNumbersFarFromZeroAreExact) {
  Moments m;
  for (const double x : {1e9 - 1, 1e9, 1e9 + 1}) m.add(x);
  EXPECT_EQ(m.mean(), 1e9);
  EXPECT_DOUBLE_EQ(m.variance(), 2.0 / 3);
}

TEST(Normalise, GivesMeanZeroAndDeviationOne) {
  Random random(4);
  std::vector<double> numbers;
  Moments before, after;
  for (int i = 0; i < 1000; ++i) numbers.push_back(5 + 3 * random.normal());
  const std::vector<double> was = numbers;
  for (const double x : numbers) before.add(x);
  normalise(numbers, before);
  for (const double x : numbers) after.add(x);
  EXPECT_NEAR(after.mean(), 0, 1e-12);
  EXPECT_NEAR(after.variance(), 1, 1e-7);
  for (size_t i = 1; i < was.size(); ++i) EXPECT_EQ(was[i] > was[i - 1], numbers[i] > numbers[i - 1]);
}

// The sum of 30,000 times 0.1 is not 3,000. AdamW would make a whole step of what is left.
TEST(Normalise, MakesEqualNumbersZero) {
  for (const double x : {0.1, 0.7, -1.3, 1e6}) {
    std::vector<double> numbers(30000, x);
    Moments all;
    for (const double each : numbers) all.add(each);
    normalise(numbers, all);
    for (const double each : numbers) ASSERT_EQ(each, 0) << x;
  }
}

TEST(ExplainedVariance, IsOneForAPerfectCriticAndZeroForTheMean) {
  Moments returns, none, mean;
  for (const double r : {0.0, 1.0, 1.0, 0.0, 1.0}) {
    returns.add(r);
    none.add(0);
    mean.add(r - 0.6);
  }
  EXPECT_DOUBLE_EQ(explained_variance(returns, none), 1);
  EXPECT_NEAR(explained_variance(returns, mean), 0, 1e-12);
  Moments equal;
  for (int i = 0; i < 5; ++i) equal.add(0.7);
  EXPECT_EQ(explained_variance(equal, mean), 0) << "nothing varies that could be explained";
}

TEST(ValueLoss, IsTheLargerOfTheClippedAndTheUnclippedError) {
  const std::vector<float> values{0.5f, 2.0f, 2.0f}, old{0.5f, 1.0f, 1.0f};
  const std::vector<double> returns{1, 0, 3};
  std::vector<double> gradient(3);
  // The second value is clipped from 2 to 1.2, but its error there is smaller. The third one's error is larger
  // where it is clipped: it has no gradient.
  const ValueLoss loss = value_loss(0.2, values, old, returns, 0.1, gradient);
  EXPECT_NEAR(loss.loss, 0.1 * 0.5 * (0.25 + 4 + 1.8 * 1.8), 1e-7);
  EXPECT_EQ(loss.clipped, 1);
  EXPECT_NEAR(gradient[0], 0.1 * -0.5, 1e-12);
  EXPECT_NEAR(gradient[1], 0.1 * 2, 1e-12);
  EXPECT_EQ(gradient[2], 0);
  const ValueLoss unclipped = value_loss(0, values, old, returns, 0.1, gradient);
  EXPECT_NEAR(unclipped.loss, 0.1 * 0.5 * (0.25 + 4 + 1), 1e-7);
  EXPECT_EQ(unclipped.clipped, 0);
  EXPECT_NEAR(gradient[2], 0.1 * -1, 1e-12);
}

TEST(ValueLoss, HasTheGradientOfItsDifferences) {
  constexpr float kStep = 0x1p-12f;
  int tried = 0;
  for (const double clip : {0.0, 0.2, 1.5}) {
    Random random(9);
    for (int i = 0; i < 300; ++i) {
      const std::vector<float> values{static_cast<float>(random.normal())},
          old{static_cast<float>(random.normal())};
      const std::vector<double> returns{random.normal()};
      std::vector<double> gradient(1), unused(1);
      value_loss(clip, values, old, returns, 0.25, gradient);
      const auto at = [&](float by) {
        return value_loss(clip, std::vector<float>{values[0] + by}, old, returns, 0.25, unused);
      };
      const ValueLoss above = at(kStep), below = at(-kStep);
      if (above.clipped != below.clipped) continue;  // a kink
      ++tried;
      EXPECT_NEAR(gradient[0], (above.loss - below.loss) / (2 * static_cast<double>(kStep)), 1e-3);
    }
  }
  EXPECT_GT(tried, 800);
}

}  // namespace
}  // namespace r1::ppo_loss_test
