// The arithmetic of GRPO against its definition and finite differences.
#include "train/grpo_loss.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/random.h"

namespace r1 {
namespace {

TEST(GrpoLoss, AdvantagesAreNormalisedWithinTheirGroup) {
  const std::vector<double> rewards = {1, 0, 0, 0, 1, 1, 1, 0};
  const auto a = group_advantages(rewards, 4, Normalise::group);
  const double s = std::sqrt(0.1875) + 1e-6;
  EXPECT_DOUBLE_EQ(a[0], 0.75 / s);
  EXPECT_DOUBLE_EQ(a[1], -0.25 / s);
  EXPECT_DOUBLE_EQ(a[7], -0.75 / s);
  const auto plain = group_advantages(rewards, 4, Normalise::none);
  EXPECT_DOUBLE_EQ(plain[0], 0.75);
}

TEST(GrpoLoss, GroupsWithoutSignalTeachNothing) {
  // 0.1 is no binary fraction: the mean of equal rewards may round, and must not be blown up.
  for (const double r : {0.0, 1.0, 0.1}) {
    for (const double a : group_advantages(std::vector<double>(7, r), 7, Normalise::group)) EXPECT_EQ(a, 0.0);
  }
}

TEST(GrpoLoss, ClipsOnlyTheSideThatWouldGainMore) {
  GrpoLossConfig config{.clip_low = 0.2, .clip_high = 0.3};
  const double up = std::log(1.5), down = std::log(0.5);
  EXPECT_TRUE(token_loss(config, up, 0, 0, 1).clipped);
  EXPECT_DOUBLE_EQ(token_loss(config, up, 0, 0, 1).loss, -1.3);
  EXPECT_EQ(token_loss(config, up, 0, 0, 1).gradient, 0.0);
  EXPECT_FALSE(token_loss(config, up, 0, 0, -1).clipped);
  EXPECT_TRUE(token_loss(config, down, 0, 0, -1).clipped);
  EXPECT_DOUBLE_EQ(token_loss(config, down, 0, 0, -1).loss, 0.8);
  EXPECT_FALSE(token_loss(config, down, 0, 0, 1).clipped);
}

TEST(GrpoLoss, GradientAgreesWithFiniteDifferences) {
  Random random(2);
  for (int i = 0; i < 20000; ++i) {
    GrpoLossConfig config{.clip_low = 0.2, .clip_high = 0.28, .kl = i % 2 == 0 ? 0.0 : 0.04};
    const double logp = -3 * random.uniform_double(), old = logp + random.normal() * 0.3,
                 ref = logp + random.normal() * 0.3;
    const double a = random.normal();
    const double h = 1e-6, ratio = std::exp(logp - old);
    if (std::abs(ratio - 0.8) < 1e-4 || std::abs(ratio - 1.28) < 1e-4) continue;  // the kink
    const double numeric =
        (token_loss(config, logp + h, old, ref, a).loss - token_loss(config, logp - h, old, ref, a).loss) /
        (2 * h);
    EXPECT_NEAR(token_loss(config, logp, old, ref, a).gradient, numeric, 1e-6 * (1 + std::abs(numeric)));
  }
}

TEST(GrpoLoss, KlEstimatorIsZeroOnlyAtEquality) {
  const GrpoLossConfig config{.kl = 1};
  EXPECT_EQ(token_loss(config, -1, -1, -1, 0).kl, 0.0);
  EXPECT_GT(token_loss(config, -1, -1, -1.1, 0).kl, 0.0);
  EXPECT_GT(token_loss(config, -1, -1, -0.9, 0).kl, 0.0);
}

}  // namespace
}  // namespace r1
