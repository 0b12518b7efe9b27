// The loss of a rollout covers the policy's tokens; the environment's tokens between them are context.
#include "train/grpo_update.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/random.h"
#include "model/model.h"
#include "train/grpo_rollouts.h"

namespace r1::grpo_update_test {
namespace {

using Gradients = std::map<std::string, std::vector<float>>;

class RolloutsOfSegments : public testing::Test {
 protected:
  RolloutsOfSegments() : model(Model::load(R1_SOURCE_DIR "/models/r1-nano-base")) {}

  std::vector<int32_t> some_tokens(int64_t count) {
    std::vector<int32_t> out;
    for (int64_t i = 0; i < count; ++i)
      out.push_back(static_cast<int32_t>(random.between(8, model.config().vocab_size - 1)));
    return out;
  }
  static std::vector<float> some_logprobs(size_t count) {
    std::vector<float> out;
    for (size_t i = 0; i < count; ++i) out.push_back(-2.0f - static_cast<float>(i % 3));
    return out;
  }
  void add_policy(Rollout& r, int64_t count) {
    const auto tokens = some_tokens(count);
    r.add_policy(tokens, some_logprobs(tokens.size()), 3);
  }
  // Returns a prompt, a call, its result, and an answer.
  Rollout conversation(double advantage) {
    Rollout r;
    r.add_environment(some_tokens(12));
    add_policy(r, 7);
    r.add_environment(some_tokens(9));
    add_policy(r, 14);
    r.advantage = advantage;
    return r;
  }
  Gradients gradients() const {
    Gradients out;
    for (const Parameter& p : model.parameters()) {
      if (p.trainable) out[p.name] = {p.grad.values().begin(), p.grad.values().end()};
    }
    return out;
  }

  Random random{5};
  Model model;
  ThreadPool threads{2};
  Lanes lanes{threads, Numerics::cpu_f32};
};

TEST_F(RolloutsOfSegments, KeepTheirParts) {
  const Rollout r = conversation(1);
  EXPECT_EQ(r.tokens.size(), 42u);
  EXPECT_EQ(r.prompt_tokens().size(), 12u);
  EXPECT_EQ(r.answer().size(), 30u);
  EXPECT_EQ(r.policy_tokens(), 21);
  EXPECT_EQ(r.policy_ranges(), (TokenRanges{{12, 19}, {28, 42}}));
  ASSERT_EQ(r.segments.size(), 4u);
  EXPECT_EQ(r.segments[1].weights, 3);
}

TEST_F(RolloutsOfSegments, TheEnvironmentsTokensHaveNoGradient) {
  model.allocate_gradients();
  GrpoConfig config;
  config.rollout.max_tokens = 30;
  std::vector<Rollout> rollouts;
  for (const double advantage : {1.0, -0.5, 0.0, 2.0}) rollouts.push_back(conversation(advantage));
  rollouts[3].masked = true;
  const MinibatchFigures figures = differentiate_minibatch(model, lanes, rollouts, config, false);
  EXPECT_TRUE(figures.moves);
  ASSERT_EQ(figures.rollouts.size(), 4u);
  const Gradients got = gradients();

  // The same by hand: the whole tail is scored, and the loss's gradient is put at the policy's tokens.
  Model fresh = Model::load(R1_SOURCE_DIR "/models/r1-nano-base");
  fresh.allocate_gradients();
  std::vector<ScoredRow> rows;
  for (const Rollout& r : rollouts) rows.emplace_back(r.tokens, int64_t{12});
  std::vector<double> losses(4);
  differentiate(
      fresh, lanes, rows, rollout_scoring(config),
      [&](const RowGradient& row) {
        if (row.row >= 2) return;
        const Rollout& r = rollouts[row.row];
        std::vector<float> logprobs(row.logprobs.begin(), row.logprobs.begin() + 7);
        logprobs.insert(logprobs.end(), row.logprobs.begin() + 16, row.logprobs.end());
        std::vector<double> gradient(21);
        losses[row.row] =
            sample_loss(config.loss, logprobs, r.old_logprobs, {}, r.advantage, 1.0 / 63, gradient).loss;
        std::ranges::fill(row.gradient, 0.0f);
        for (size_t i = 0; i < 21; ++i) row.gradient[i < 7 ? i : i + 9] = static_cast<float>(gradient[i]);
      },
      {}, 2);
  for (const Parameter& p : fresh.parameters()) {
    if (!p.trainable) continue;
    const std::vector<float> want{p.grad.values().begin(), p.grad.values().end()};
    EXPECT_TRUE(got.at(p.name) == want) << p.name;
  }
  EXPECT_EQ(figures.rollouts[0].loss, losses[0]);
  EXPECT_EQ(figures.rollouts[1].loss, losses[1]);
  EXPECT_NE(losses[0], 0);
}

TEST_F(RolloutsOfSegments, AreNamedInSamplesIfTheEnvironmentSpoke) {
  const Tokenizer tokenizer = Tokenizer::load(R1_SOURCE_DIR "/models/r1-nano-base");
  GrpoConfig config;
  config.rollout.params.temperature = 0.7f;
  const auto row_of = [&](const Rollout& r) {
    return rollout_row(r, Problem{}, 4, "sha", tokenizer, config);
  };
  const Json row = row_of(conversation(1));
  EXPECT_EQ(row.at("segments").dump(),
            R"([{"begin":0,"end":7,"by":"policy"},{"begin":7,"end":16,"by":"environment"},)"
            R"({"begin":16,"end":30,"by":"policy"}])");
  EXPECT_EQ(row.at("tokens").size(), 30u);
  EXPECT_EQ(row.at("logprobs").size(), 21u);
  EXPECT_EQ(row.at("temperature").dump(), "0.7");
  Rollout one;
  one.add_environment(some_tokens(5));
  add_policy(one, 3);
  EXPECT_FALSE(row_of(one).contains("segments"));
}

TEST_F(RolloutsOfSegments, TheComparisonWithTheSamplerCoversThePolicysTokens) {
  Rollout r = conversation(0);
  const auto scored = score(model, lanes, scored_rows({&r, 1}), rollout_scoring({}));
  ASSERT_EQ(scored[0].size(), 21u);
  EXPECT_GT(compared(scored[0], r).max_abs, 0);
  r.old_logprobs = scored[0];
  EXPECT_EQ(compared(scored[0], r).max_abs, 0);
  EXPECT_EQ(compared(scored[0], r).sampler_kl, 0);
}

}  // namespace
}  // namespace r1::grpo_update_test
