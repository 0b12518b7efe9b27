// Findings that a preflight's figures justify.
#include "train/preflight.h"

#include <gtest/gtest.h>

#include <cmath>

namespace r1::preflight_test {
namespace {

GrpoConfig config_of_16() {
  GrpoConfig c;
  c.rollout.samples = 16;
  return c;
}

// Returns `groups` groups of 16 samples. `with_signal` of them have one right answer, and every group has
// `truncated` cut-off answers.
Preflight made(int64_t groups, int64_t with_signal, int64_t truncated = 0) {
  Preflight p;
  p.max_tokens = p.sampled_to = 100;
  p.groups_a_step = 32;
  for (int64_t g = 0; g < groups; ++g) {
    const bool signal = g < with_signal;
    p.groups.push_back({.samples = 16,
                        .right = signal ? 1 : 0,
                        .well_formed = 16,
                        .truncated = truncated,
                        .tokens = 1600,
                        .longest = 100,
                        .reward = signal ? 0.0625 : 0,
                        .spread = signal ? 0.242 : 0,
                        .signal = signal});
  }
  return p;
}

bool refused(const Preflight& p) {
  return std::ranges::any_of(findings(p, config_of_16()), &PreflightFinding::refuses);
}

TEST(Preflight, WithoutSignalARefusalNeedsThreeStepsOfGroups) {
  EXPECT_EQ(groups_to_refuse(32), 95);  // 0.05^(1/95) = 0.96896, so the share is below 1/32 = 0.03125
  EXPECT_LT(1 - std::pow(0.05, 1.0 / 95), 1.0 / 32);
  EXPECT_GT(1 - std::pow(0.05, 1.0 / 94), 1.0 / 32);
  EXPECT_EQ(groups_to_refuse(1), 95) << "a step of one group may wait 32 steps for a signal";
  EXPECT_NEAR(static_cast<double>(groups_to_refuse(512)), 3.0 * 512, 10);
  EXPECT_FALSE(refused(made(8, 0))) << "eight groups without signal are no proof";
  EXPECT_FALSE(refused(made(94, 0)));
  EXPECT_TRUE(refused(made(95, 0)));
  EXPECT_FALSE(refused(made(200, 1)));
}

// p = 1 % per answer: 8 groups of 16 are all without signal with probability 0.99^128 = 0.28, but 95 groups
// with
// 0.99^1520 = 2e-7. So a run that can learn is not refused.
TEST(Preflight, OnePercentOfRightAnswersIsNotRefused) {
  EXPECT_NEAR(std::pow(0.99, 8 * 16), 0.276, 1e-3);
  EXPECT_LT(std::pow(0.99, 95 * 16), 1e-6);
  const auto found = findings(made(8, 0), config_of_16());
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NE(found[0].what.find("0 to 31 %"), std::string::npos) << found[0].what;  // 1 - 0.05^(1/8)
}

TEST(Preflight, TruncationIsRefusedOnlyIfItsIntervalIsAboveNineInTen) {
  EXPECT_TRUE(refused(made(8, 8, 16)));   // all of 128
  EXPECT_FALSE(refused(made(8, 8, 15)));  // 120 of 128: 93.8 %, from 88 %
  EXPECT_TRUE(refused(made(60, 60, 15)));
  EXPECT_FALSE(refused(made(60, 60, 14)));
}

TEST(Preflight, GroupsThatDifferWidenTheInterval) {
  Preflight same = made(10, 10, 8), apart = made(10, 10, 0);
  for (size_t g = 0; g < 5; ++g) apart.groups[g].truncated = 16;
  EXPECT_EQ(same.truncated().value, 0.5);
  EXPECT_EQ(apart.truncated().value, 0.5);
  EXPECT_NEAR(same.truncated().high, 0.576, 2e-3);  // Wilson, 160 samples
  EXPECT_GT(apart.truncated().high, 0.75);          // about ten independent observations
}

TEST(Preflight, RefusalsNameTheSettingToChange) {
  const auto advice = [](const Preflight& p) { return findings(p, config_of_16()).front().advice; };
  EXPECT_NE(advice(made(8, 8, 16)).find("rollout.max_tokens, for example to 400"), std::string::npos);
  EXPECT_NE(advice(made(95, 0)).find("rollout.group than 16"), std::string::npos);
  Preflight formless = made(95, 0);
  for (GroupTally& g : formless.groups) g.well_formed = 0;
  EXPECT_NE(advice(formless).find("[prompt]"), std::string::npos);
  Preflight easy = made(95, 0);
  for (GroupTally& g : easy.groups) g.right = 16;
  EXPECT_NE(advice(easy).find("a harder task"), std::string::npos) << advice(easy);
}

// A critic learns from groups of equal rewards: what is missing is another reward.
TEST(Preflight, WithACriticTheFindingsAreThoseOfAllAnswers) {
  GrpoConfig ppo = config_of_16();
  ppo.critic.emplace();
  const auto finding = [&](const Preflight& p) { return findings(p, ppo).front(); };
  const PreflightFinding none = finding(made(95, 0)), few = finding(made(200, 1));
  EXPECT_TRUE(none.refuses);
  EXPECT_TRUE(none.what.starts_with("all rewards of 95 groups of 16 are equal")) << none.what;
  EXPECT_NE(none.advice.find("a larger rollout.prompts than 32"), std::string::npos) << none.advice;
  EXPECT_FALSE(few.refuses);
  EXPECT_TRUE(few.what.starts_with("only in 1 of 200 groups is an answer paid otherwise")) << few.what;
  EXPECT_EQ(few.what.find("teaches nothing"), std::string::npos) << few.what;
}

TEST(Preflight, AnswersThatWereNotSampledToTheEndJustifyNoRefusal) {
  Preflight p = made(95, 0, 16);
  p.sampled_to = 50;
  EXPECT_FALSE(refused(p));
  EXPECT_NE(findings(p, config_of_16()).front().what.find("50 of 100 tokens"), std::string::npos);
}

TEST(Preflight, VerifierFailuresAreSaid) {
  Preflight p = made(8, 8);
  p.groups[3].verifier_failed = 2;
  EXPECT_NE(findings(p, config_of_16()).front().what.find("failed on 2 of 128"), std::string::npos);
}

}  // namespace
}  // namespace r1::preflight_test
