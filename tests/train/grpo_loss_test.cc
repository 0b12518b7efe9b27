// The arithmetic of GRPO against its definition and finite differences.
#include "train/grpo_loss.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "formats/json.h"

namespace r1::grpo_loss_test {
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
  // 0.1 is not a binary fraction. The mean of equal rewards may round, and the error must not be magnified.
  for (const double r : {0.0, 1.0, 0.1}) {
    for (const double a : group_advantages(std::vector<double>(7, r), 7, Normalise::group)) EXPECT_EQ(a, 0.0);
  }
}

// Computes the loss of one token of weight 1, with reference `ref`.
struct OneToken {
  double loss, gradient, kl;
  bool clipped;
};
OneToken one_token(const GrpoLossConfig& config, double logp, double old, double ref, double advantage) {
  const float l = static_cast<float>(logp), o = static_cast<float>(old), r = static_cast<float>(ref);
  double gradient = 0;
  const SampleLoss loss = sample_loss(config, {&l, 1}, {&o, 1}, {&r, 1}, advantage, 1, {&gradient, 1});
  return {loss.loss, gradient, loss.kl, loss.clipped > 0};
}

TEST(GrpoLoss, ClipsOnlyTheSideThatWouldGainMore) {
  const GrpoLossConfig config{.clip_low = 0.2, .clip_high = 0.3};
  const double up = std::log(1.5), down = std::log(0.5);
  EXPECT_TRUE(one_token(config, up, 0, 0, 1).clipped);
  EXPECT_DOUBLE_EQ(one_token(config, up, 0, 0, 1).loss, -1.3);
  EXPECT_EQ(one_token(config, up, 0, 0, 1).gradient, 0.0);
  EXPECT_FALSE(one_token(config, up, 0, 0, -1).clipped);
  EXPECT_TRUE(one_token(config, down, 0, 0, -1).clipped);
  EXPECT_DOUBLE_EQ(one_token(config, down, 0, 0, -1).loss, 0.8);
  EXPECT_FALSE(one_token(config, down, 0, 0, 1).clipped);
}

TEST(GrpoLoss, CispoCutsTheWeightAndKeepsTheGradient) {
  const GrpoLossConfig config{.clip_low = 1, .clip_high = 0.3, .surrogate = Surrogate::cispo};
  const OneToken token = one_token(config, std::log(1.5), 0, 0, 2);
  EXPECT_TRUE(token.clipped);
  EXPECT_DOUBLE_EQ(token.gradient, -1.3 * 2);
}

TEST(GrpoLoss, KlEstimatorIsZeroOnlyAtEquality) {
  const GrpoLossConfig config{.kl = 1};
  EXPECT_EQ(one_token(config, -1, -1, -1, 0).kl, 0.0);
  EXPECT_GT(one_token(config, -1, -1, -1.1, 0).kl, 0.0);
  EXPECT_GT(one_token(config, -1, -1, -0.9, 0).kl, 0.0);
}

template <class Enum>
Enum named(const std::string& name, std::initializer_list<std::pair<const char*, Enum>> names) {
  for (const auto& [known, value] : names) {
    if (name == known) return value;
  }
  throw BrokenInvariant("unknown name " + name);
}

template <class T>
std::vector<T> numbers(const Json& list) {
  std::vector<T> out;
  for (const Json& value : list.items()) out.push_back(static_cast<T>(value.number()));
  return out;
}

TEST(GrpoLoss, AgreesWithNumPyInEveryCombination) {  // tests/ref/make_grpo_goldens.py
  const Json cases = read_json(std::filesystem::path(R1_SOURCE_DIR) / "tests/golden/grpo.json");
  ASSERT_EQ(cases.items().size(), 36u);
  for (const Json& c : cases.items()) {
    GrpoLossConfig config;
    config.ratio = named<Ratio>(
        c.get_string("ratio"),
        {{"token", Ratio::token}, {"sequence", Ratio::sequence}, {"sequence_mean", Ratio::sequence_mean}});
    config.surrogate =
        named<Surrogate>(c.get_string("surrogate"), {{"ppo", Surrogate::ppo}, {"cispo", Surrogate::cispo}});
    config.aggregate = named<Aggregate>(
        c.get_string("aggregate"),
        {{"token", Aggregate::token}, {"sequence", Aggregate::sequence}, {"constant", Aggregate::constant}});
    config.normalise = named<Normalise>(
        c.get_string("normalise"),
        {{"group", Normalise::group}, {"batch", Normalise::batch}, {"none", Normalise::none}});
    config.kl = c.at("kl").number();
    config.clip_low = c.at("clip_low").number();
    config.clip_high = c.at("clip_high").number();
    SCOPED_TRACE(c.get_string("ratio") + " " + c.get_string("surrogate") + " " + c.get_string("aggregate"));
    const auto rewards = numbers<double>(c.at("rewards")), want = numbers<double>(c.at("advantages"));
    const auto advantages = group_advantages(rewards, c.get_int("group"), config.normalise);
    ASSERT_EQ(advantages.size(), want.size());
    int64_t tokens = 0;
    for (const Json& row : c.at("logp").items()) tokens += static_cast<int64_t>(row.items().size());
    double loss = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_NEAR(advantages[i], want[i], 1e-12 * (1 + std::abs(want[i])));
      const auto logp = numbers<float>(c.at("logp").items()[i]), old = numbers<float>(c.at("old").items()[i]),
                 ref = numbers<float>(c.at("ref").items()[i]);
      const auto gradient = numbers<double>(c.at("gradient").items()[i]);
      std::vector<double> got(logp.size());
      const double weight = token_weight(config.aggregate, static_cast<int64_t>(logp.size()),
                                         static_cast<int64_t>(want.size()), tokens, c.get_int("cap"));
      loss += sample_loss(config, logp, old, ref, advantages[i], weight, got).loss;
      for (size_t t = 0; t < got.size(); ++t)
        EXPECT_NEAR(got[t], gradient[t], 1e-10 * (1 + std::abs(gradient[t])));
    }
    EXPECT_NEAR(loss, c.at("loss").number(), 1e-12 * (1 + std::abs(loss)));
  }
}

}  // namespace
}  // namespace r1::grpo_loss_test
