// PPO's critic: one step against transformers, and how it begins.
#include "train/critic.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>

#include "formats/json.h"
#include "train/grpo_update.h"

namespace r1::critic_test {
namespace {

namespace fs = std::filesystem;

const fs::path kModels = fs::path(R1_SOURCE_DIR) / "tests/golden/models";

std::vector<double> numbers(const Json& list) {
  std::vector<double> out;
  for (const Json& value : list.items()) out.push_back(value.number());
  return out;
}
std::vector<float> floats(const Json& list) {
  std::vector<float> out;
  for (const Json& value : list.items()) out.push_back(static_cast<float>(value.number()));
  return out;
}
std::vector<int32_t> tokens_of(const Json& list) {
  std::vector<int32_t> out;
  for (const Json& value : list.items()) out.push_back(static_cast<int32_t>(value.integer()));
  return out;
}

class PpoStep : public testing::Test {
 protected:
  PpoStep() : golden(read_json(fs::path(R1_SOURCE_DIR) / "tests/golden/ppo.json")) {
    folder = fs::temp_directory_path() / fmt::format("r1_critic_{}", ::getpid());
    fs::create_directories(folder);
    config.epochs = 2;
    config.loss.clip_low = config.loss.clip_high = golden.get_number("clip");
    config.optimizer = optimizer("lr");
    CriticConfig& critic = config.critic.emplace();
    critic.model = write_critic();
    critic.optimizer = optimizer("critic_lr");
    critic.gamma = golden.get_number("gamma");
    critic.lambda = golden.get_number("lambda");
    critic.value_clip = golden.get_number("value_clip");
    critic.reward_kl = golden.get_number("reward_kl");
    for (const Json& row : golden.at("rollouts").items()) {
      Rollout r;
      r.add_environment(tokens_of(row.at("prompt")));
      r.add_policy(tokens_of(row.at("answer")), floats(row.at("old")), 0);
      r.ref_logprobs = floats(row.at("ref"));
      r.reward = row.get_number("reward");
      rollouts.push_back(std::move(r));
    }
  }
  ~PpoStep() override { fs::remove_all(folder); }

  OptimizerConfig optimizer(const char* lr) const {
    OptimizerConfig o;
    o.lr = golden.get_number(lr);
    o.steps = 1;
    return o;
  }
  // A value model whose head is the fixture's.
  std::string write_critic() const {
    Model critic = Model::value_model(Model::load(kModels / "llama-llama3"));
    for (Parameter& p : critic.parameters()) {
      if (p.name == "score.weight") std::ranges::copy(floats(golden.at("head")), p.value.f32());
    }
    critic.save(folder, DType::f32);
    return folder.string();
  }
  static void expect_near(std::span<const double> got, const Json& want, double tolerance,
                          const std::string& what) {
    const std::vector<double> list = numbers(want);
    ASSERT_EQ(got.size(), list.size()) << what;
    for (size_t i = 0; i < list.size(); ++i) EXPECT_NEAR(got[i], list[i], tolerance) << what << " " << i;
  }
  // Every tensor's gradient: its norm, and its product with fixed numbers.
  static void expect_gradients(const Model& model, const Json& want, double tolerance,
                               const std::string& what) {
    int compared = 0;
    for (const auto& [name, pair] : want.members()) {
      for (const Parameter& p : model.parameters()) {
        if (p.name != name) continue;
        double squares = 0, product = 0;
        for (int64_t i = 0; i < p.grad.count(); ++i) {
          const auto g = static_cast<double>(p.grad.f32()[i]);
          squares += g * g;
          product += g * std::cos(static_cast<double>(i));
        }
        const double norm = pair.items()[0].number();
        EXPECT_NEAR(std::sqrt(squares), norm, tolerance * norm + 1e-7) << what << " " << name;
        EXPECT_NEAR(product, pair.items()[1].number(), tolerance * norm + 1e-7) << what << " " << name;
        ++compared;
      }
    }
    EXPECT_EQ(compared, std::ssize(model.parameters())) << what;
  }

  Json golden;
  fs::path folder;
  GrpoConfig config;
  std::vector<Rollout> rollouts;
};

TEST_F(PpoStep, IsThatOfTransformers) {
  ThreadPool threads(2);
  Lanes lanes(threads, Numerics::cpu_f32);
  Model policy = Model::load(kModels / "llama-llama3");
  Optimizer updates(policy, by_updates(config.optimizer, 2));
  Critic critic(policy, config);
  const ValueFigures figures = set_advantages(rollouts, critic.values(lanes, scored_rows(rollouts)), config);
  EXPECT_NEAR(figures.advantages.mean(), golden.get_number("advantage_mean"), 1e-6);
  EXPECT_NEAR(std::sqrt(figures.advantages.variance()), golden.get_number("advantage_std"), 1e-6);
  EXPECT_NEAR(explained_variance(figures.returns, figures.advantages),
              golden.get_number("explained_variance"), 1e-5);
  for (size_t i = 0; i < rollouts.size(); ++i) {
    const Json& want = golden.at("rollouts").items()[i];
    const std::string what = fmt::format("rollout {}: ", i);
    expect_near(std::vector<double>(rollouts[i].values.begin(), rollouts[i].values.end()), want.at("values"),
                1e-5, what + "values");
    expect_near(rollouts[i].advantages, want.at("advantages"), 2e-5, what + "advantages");
    expect_near(rollouts[i].returns, want.at("returns"), 1e-5, what + "returns");
  }
  double tolerance = 1e-4;
  for (const Json& epoch : golden.at("epochs").items()) {
    const MinibatchFigures trained = differentiate_minibatch(policy, lanes, rollouts, config, false);
    double loss = 0;
    for (const RolloutFigures& row : trained.rollouts) loss += row.loss;
    const Json &of_policy = epoch.at("policy"), &of_critic = epoch.at("critic");
    EXPECT_NEAR(loss, of_policy.get_number("loss"), tolerance);
    expect_gradients(policy, of_policy.at("gradients"), tolerance, "policy");
    Context ctx = lanes.context();
    EXPECT_NEAR(updates.update(ctx).grad_norm, of_policy.get_number("norm"), tolerance);
    EXPECT_NEAR(critic.differentiate(lanes, rollouts).loss, of_critic.get_number("loss"), tolerance);
    expect_gradients(critic.model(), of_critic.at("gradients"), tolerance, "critic");
    EXPECT_NEAR(critic.update(lanes).grad_norm, of_critic.get_number("norm"), tolerance);
    tolerance =
        2e-3;  // AdamW's first step moves every weight by lr, however small and uncertain its gradient
  }
}

TEST_F(PpoStep, LeavesMaskedSamplesOut) {
  ThreadPool threads(1);
  Lanes lanes(threads, Numerics::cpu_f32);
  const Model policy = Model::load(kModels / "llama-llama3");
  Critic critic(policy, config);
  std::vector<Rollout> without = rollouts;
  without.erase(without.begin() + 1);
  rollouts[1].masked = true;
  rollouts[1].reward = 1e6;
  const auto all = set_advantages(rollouts, critic.values(lanes, scored_rows(rollouts)), config);
  const auto some = set_advantages(without, critic.values(lanes, scored_rows(without)), config);
  EXPECT_EQ(all.advantages.count, some.advantages.count);
  EXPECT_EQ(rollouts[0].advantages, without[0].advantages);
  for (const double a : rollouts[1].advantages) EXPECT_EQ(a, 0);
  const double loss = critic.differentiate(lanes, rollouts).loss;
  EXPECT_EQ(loss, critic.differentiate(lanes, without).loss);
  EXPECT_EQ(critic.differentiate(lanes, std::span(rollouts).subspan(1, 1)).loss, 0) << "nothing is left";
}

// The first step of a run whose answers are all paid alike, before its critic knows anything.
TEST_F(PpoStep, EqualRewardsGiveNoAdvantageToAnyToken) {
  config.critic->gamma = config.critic->lambda = 1;
  config.critic->reward_kl = 0;
  std::vector<Rollout> many;
  for (int i = 0; i < 400; ++i) {
    many.push_back(rollouts[static_cast<size_t>(i) % rollouts.size()]);
    many.back().reward = 0.1;
  }
  std::vector<std::vector<float>> values;
  for (const Rollout& r : many) values.emplace_back(r.policy_tokens());
  const ValueFigures figures = set_advantages(many, values, config);
  EXPECT_EQ(figures.returns.mean(), 0.1);
  for (const Rollout& r : many) {
    for (const double a : r.advantages) ASSERT_EQ(a, 0);
    for (const double to : r.returns) ASSERT_EQ(to, 0.1) << "the critic learns from them";
  }
}

// The derivative of the critic's loss along a direction in each tensor, by central differences.
TEST_F(PpoStep, TheCriticsGradientIsThatOfItsDifferences) {
  ThreadPool threads(1);
  Lanes lanes(threads, Numerics::cpu_f32);
  const Model policy = Model::load(kModels / "llama-llama3");
  const fs::path moved = folder / "moved";
  fs::create_directories(moved);
  for (const Aggregate aggregate : {Aggregate::token, Aggregate::sequence, Aggregate::constant}) {
    config.loss.aggregate = aggregate;
    Critic critic(policy, config);
    (void)set_advantages(rollouts, critic.values(lanes, scored_rows(rollouts)), config);
    // The values before the step lie on both sides of today's, some of them behind the clip.
    for (Rollout& r : rollouts) {
      for (size_t t = 0; t < r.values.size(); ++t) r.values[t] += 0.08f * static_cast<float>(t % 3) - 0.08f;
    }
    const ValueLoss at = critic.differentiate(lanes, rollouts);
    EXPECT_GT(at.clipped, 0);
    const auto loss = [&](const std::string& name, float step) {
      Model other = Model::load_value_model(config.critic->model);
      for (Parameter& p : other.parameters()) {
        if (p.name != name) continue;
        for (int64_t i = 0; i < p.value.count(); ++i)
          p.value.f32()[i] += step * static_cast<float>(std::cos(static_cast<double>(i)));
      }
      other.save(moved, DType::f32);
      GrpoConfig there = config;
      there.critic->model = moved.string();
      return Critic(policy, there).differentiate(lanes, rollouts);
    };
    int compared = 0;
    for (const Parameter& p : critic.model().parameters()) {
      double slope = 0, squares = 0;
      for (int64_t i = 0; i < p.grad.count(); ++i) {
        const auto g = static_cast<double>(p.grad.f32()[i]);
        slope += g * std::cos(static_cast<double>(i));
        squares += g * g;
      }
      constexpr float kStep = 0x1p-10f;
      const ValueLoss above = loss(p.name, kStep), below = loss(p.name, -kStep);
      if (above.clipped != below.clipped) continue;  // a kink
      const double difference = (above.loss - below.loss) / (2 * static_cast<double>(kStep));
      EXPECT_NEAR(slope, difference, 0.01 * std::sqrt(squares) + 1e-4) << p.name;
      ++compared;
    }
    EXPECT_GE(compared, std::ssize(critic.model().parameters()) * 3 / 4);
  }
}

TEST(NewCritic, BeginsWithTheWeightsOfTheNamedModel) {
  const Model policy = Model::load(kModels / "qwen2-tied"), other = Model::create(policy.config(), 7);
  const auto folder = fs::temp_directory_path() / fmt::format("r1_new_critic_{}", ::getpid());
  fs::create_directories(folder);
  other.save(folder, DType::f32);
  EXPECT_EQ(new_critic(policy, {}).weights_sha256(), Model::value_model(policy).weights_sha256());
  EXPECT_EQ(new_critic(policy, {.model = folder.string()}).weights_sha256(),
            Model::value_model(other).weights_sha256());
  fs::remove_all(folder);
}

TEST(NewCritic, MustHaveThePolicysArchitecture) {
  const ModelConfig policy = Model::load(kModels / "qwen2-tied").config();
  EXPECT_EQ(critic_difference(policy, policy), "");
  EXPECT_EQ(critic_difference(policy, value_model_config(policy)), "");
  ModelConfig other = policy;
  other.hidden_size = policy.hidden_size + 4;
  EXPECT_EQ(critic_difference(policy, other),
            fmt::format("hidden_size is {}; the policy's is {}", other.hidden_size, policy.hidden_size));
  other = policy;
  other.vocab_size = 7;
  EXPECT_EQ(critic_difference(policy, other),
            fmt::format("vocab_size is 7; the policy's is {}", policy.vocab_size));
}

}  // namespace
}  // namespace r1::critic_test
