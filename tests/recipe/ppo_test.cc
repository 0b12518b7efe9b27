// PPO on the shipped base: sampler and trainer agree to the bit, the critic learns, and a run that is killed anywhere
// ends with the same policy, critic and optimizers.
#include <fmt/format.h>

#include <cmath>

#include "base/random.h"
#include "engine/model_bundle.h"
#include "formats/jsonl.h"
#include "model/scoring.h"
#include "tests/base/kill_at.h"
#include "tests/train/train_test_util.h"
#include "train/critic.h"
#include "train/default_lr.h"
#include "train/grpo_update.h"
#include "train/ppo_loss.h"

namespace r1::ppo_test {
namespace {

namespace fs = std::filesystem;

class Ppo : public RunFolder {
 protected:
  fs::path ppo_config(const std::string& name, const std::string& out, const std::string& rollout = "",
                      const std::string& more = "") const {
    return grpo_config(name, out, rollout, "[critic]\nlambda = 0.95\ngamma = 0.99\n" + more);
  }
  // All that a finished run has learned.
  std::string learned(const std::string& out) const {
    const fs::path last = root / out / "checkpoints/step-000004";
    std::string bytes = weights_of(root / out / "model");
    for (const char* file :
         {"optimizer.safetensors", "critic/model.safetensors", "critic/optimizer.safetensors"})
      bytes += read_file(last / file);
    return bytes;
  }
  std::string finish(const fs::path& config, const std::string& out, int threads, bool resume = false) const {
    ThreadPool pool(threads);
    SilentReporter reporter;
    run_ppo_config(config, {.resume = resume}, pool, reporter);
    return learned(out);
  }
  static std::string message(const fs::path& config) {
    ThreadPool threads(1);
    SilentReporter reporter;
    try {
      run_ppo_config(config, {.stop_after_steps = 1}, threads, reporter);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
};

TEST_F(Ppo, SamplerAndTrainerAgreeExactlyAtEveryStep) {
  for (const auto& [numerics, rollout, loss] :
       {std::tuple("cpu-f32", "", "[loss]\nkl = 0.05\nreference_every = 2\n"),
        std::tuple("cpu-f32", "minibatches = 3\nepochs = 2\n", "[loss]\nkl = 0.05\nkl_in = \"loss\"\n"),
        std::tuple("cpu-bf16", "temperature = 0.7\n",
                   "[loss]\nnormalise = \"none\"\naggregate = \"sequence\"\n")}) {
    const auto config = ppo_config("a.toml", "a", rollout, loss);
    const auto typed = write("a.toml", "numerics = \"" + std::string(numerics) + "\"\n" + read_file(config));
    ThreadPool threads(2);
    SilentReporter reporter;
    run_ppo_config(typed, {}, threads, reporter);
    ASSERT_EQ(reporter.rows.size(), 4u);
    for (const Json& row : reporter.rows) {
      EXPECT_EQ(row.get_number("sampler_trainer_kl"), 0.0) << row.dump();
      EXPECT_EQ(row.get_number("sampler_trainer_max_abs"), 0.0) << row.dump();
      EXPECT_GT(row.get_number("grad_norm"), 0.0);
      EXPECT_GT(row.get_number("critic_grad_norm"), 0.0);
      EXPECT_GT(row.get_number("value_loss"), 0.0);
      for (const char* key : {"explained_variance", "value", "advantage_mean", "advantage_std", "critic_lr",
                              "value_s", "critic_train_s", "critic_update_s", "value_clip_fraction"}) {
        EXPECT_TRUE(std::isfinite(row.get_number(key))) << key;
      }
    }
    // A new critic values everything at 0: the first advantages are the returns.
    EXPECT_EQ(reporter.rows[0].get_number("value"), 0.0);
    EXPECT_NE(reporter.rows[1].get_number("value"), 0.0);
    EXPECT_EQ(reporter.rows[0].get_number("explained_variance"), 0.0);
    fs::remove_all(root / "a");
  }
}

TEST_F(Ppo, NeitherThreadsNorMicroBatchesNorCheckpointingChangeABit) {
  const std::string want = finish(ppo_config("a.toml", "a"), "a", 1);
  EXPECT_TRUE(finish(ppo_config("b.toml", "b"), "b", 3) == want);
  std::string text = read_file(ppo_config("c.toml", "c"));
  text.replace(text.find("micro = 300"), 11, "micro = 5000\nrecompute = true");
  EXPECT_TRUE(finish(write("c.toml", text), "c", 2) == want);
}

TEST_F(Ppo, ARunKilledAtAnyMomentEndsWithTheSamePolicyAndCritic) {
  const std::string loss = "[loss]\nkl = 0.02\nreference_every = 2\n";
  std::string want;
  const int64_t changes = test::count_changes(
      [&] { want = finish(ppo_config("a.toml", "a", "minibatches = 3\n", loss), "a", 1); });
  const auto config = ppo_config("b.toml", "b", "minibatches = 3\n", loss);
  Random random(23);
  for (int killed = 0; killed < 8;) {
    if (test::killed_at_change(random.between(1, changes / 2), [&] { finish(config, "b", 1, true); })) {
      ++killed;
    } else {
      fs::remove_all(root / "b");  // it ended before the kill, so it begins again
    }
  }
  EXPECT_TRUE(finish(config, "b", 2, true) == want);
  std::vector<int64_t> steps;
  for (const Json& row : read_jsonl(root / "b" / "metrics.jsonl")) steps.push_back(row.get_int("step"));
  EXPECT_EQ(steps, (std::vector<int64_t>{1, 2, 3, 4}));
}

// With one answer per problem no group's rewards differ, and the critic is what answers are compared with.
TEST_F(Ppo, LearnsFromOneAnswerPerProblem) {
  std::string text = read_file(ppo_config("a.toml", "a"));
  text.replace(text.find("prompts = 3\ngroup = 6"), 21, "prompts = 48\ngroup = 1");
  text.replace(text.find("max_tokens = 40"), 15, "max_tokens = 100");
  text.replace(text.find("steps = 4"), 9, "steps = 10");
  text.replace(text.find("lr = 1e-3"), 9, "lr = 1.5e-4");
  ThreadPool threads(2);
  SilentReporter reporter;
  run_ppo_config(write("a.toml", text), {}, threads, reporter);
  ASSERT_EQ(reporter.rows.size(), 10u);
  for (const Json& row : reporter.rows) EXPECT_EQ(row.get_number("groups_without_signal"), 1.0);
  for (const std::string& note : reporter.notes)
    EXPECT_EQ(note.find("nothing is learned"), std::string::npos) << note;
  double before = 0, after = 0;
  for (size_t i = 0; i < 3; ++i) {
    before += reporter.rows[i].get_number("value_loss") / 3;
    after += reporter.rows[7 + i].get_number("value_loss") / 3;
  }
  EXPECT_LT(after, before) << "the critic has learned nothing";
  EXPECT_FALSE(weights_of(root / "a/model") == weights_of(base()));
}

// samples.jsonl has what the gradient of a rollout needs: its advantages follow again from its values and reward.
TEST_F(Ppo, SamplesHaveTheirValuesAdvantagesAndReturns) {
  finish(ppo_config("a.toml", "a", "", "[loss]\nnormalise = \"none\"\n"), "a", 2);
  ThreadPool threads(1);
  Lanes lanes(threads, Numerics::cpu_f32);
  int64_t compared = 0;
  double spread = 0;
  for (const Json& row : read_jsonl(root / "a" / "samples.jsonl")) {
    std::vector<float> values;
    std::vector<double> rewards, advantages, returns;
    for (const Json& v : row.at("values").items()) values.push_back(std::strtof(v.string().c_str(), nullptr));
    for (const Json& a : row.at("advantages").items()) advantages.push_back(a.number());
    for (const Json& r : row.at("returns").items()) returns.push_back(r.number());
    rewards.assign(values.size(), 0);
    rewards.back() = row.get_number("reward");
    ASSERT_EQ(values.size(), row.at("tokens").items().size());
    const std::vector<double> want = generalised_advantages(rewards, values, 0.99, 0.95);
    ASSERT_EQ(advantages.size(), want.size());
    double mean = 0;
    for (size_t t = 0; t < want.size(); ++t) {
      EXPECT_EQ(advantages[t], want[t]);
      EXPECT_EQ(returns[t], want[t] + static_cast<double>(values[t]));
      mean += want[t] / static_cast<double>(want.size());
      spread += std::fabs(static_cast<double>(values[t]));
    }
    EXPECT_NEAR(row.get_number("advantage"), mean, 1e-9);
    ++compared;
  }
  EXPECT_EQ(compared, 4 * 18);
  EXPECT_GT(spread, 0) << "the critic never said anything";
}

// Returns the rollouts of a step as samples.jsonl has them.
std::vector<Rollout> recorded(const fs::path& samples, int64_t step) {
  std::vector<Rollout> out;
  const auto tokens_of = [](const Json& list) {
    std::vector<int32_t> tokens;
    for (const Json& t : list.items()) tokens.push_back(static_cast<int32_t>(t.integer()));
    return tokens;
  };
  const auto floats_of = [](const Json& list) {
    std::vector<float> floats;
    for (const Json& x : list.items()) floats.push_back(std::strtof(x.string().c_str(), nullptr));
    return floats;
  };
  const auto numbers_of = [](const Json& list) {
    std::vector<double> numbers;
    for (const Json& x : list.items()) numbers.push_back(x.number());
    return numbers;
  };
  for (const Json& row : read_jsonl(samples)) {
    if (row.get_int("step") != step) continue;
    Rollout& r = out.emplace_back();
    r.add_environment(tokens_of(row.at("prompt_tokens")));
    r.add_policy(tokens_of(row.at("tokens")), floats_of(row.at("logprobs")), 0);
    r.values = floats_of(row.at("values"));
    r.advantages = numbers_of(row.at("advantages"));
    r.returns = numbers_of(row.at("returns"));
    r.reward = row.get_number("reward");
  }
  return out;
}

// A step of six updates, made again from the checkpoint before it and samples.jsonl: log-probs and values are those
// of the weights before the first update, however many follow, and the last update ends with the run's bytes.
TEST_F(Ppo, AStepCanBeMadeAgainFromItsSamples) {
  const auto path = ppo_config("a.toml", "a", "minibatches = 3\nepochs = 2\n");
  finish(path, "a", 2);
  const fs::path before = root / "a/checkpoints/step-000003", after = root / "a/checkpoints/step-000004";
  ConfigFile file = ConfigFile::read(path);
  GrpoConfig config = read_ppo_config(file);
  (void)choose_critic_lr(config.critic->optimizer, file, config.optimizer);
  ThreadPool threads(2);
  Lanes lanes(threads, Numerics::cpu_f32);
  Model policy = Model::load(before);
  Optimizer updates(policy, by_updates(config.optimizer, 6));
  updates.load(before, 18);
  Critic critic(policy, config);
  critic.load(before, 18);
  const std::vector<Rollout> rollouts = recorded(root / "a/samples.jsonl", 4);
  ASSERT_EQ(rollouts.size(), 18u);
  const std::vector<ScoredRow> rows = scored_rows(rollouts);
  const auto logprobs = score(policy, lanes, rows, {}), values = critic.values(lanes, rows);
  std::vector<Rollout> again = rollouts;
  (void)set_advantages(again, values, config);
  for (size_t i = 0; i < rollouts.size(); ++i) {
    EXPECT_EQ(rollouts[i].old_logprobs, logprobs[i]) << "of sample " << i;
    EXPECT_EQ(rollouts[i].values, values[i]) << "of sample " << i;
    EXPECT_EQ(rollouts[i].advantages, again[i].advantages) << "of sample " << i;
    EXPECT_EQ(rollouts[i].returns, again[i].returns) << "of sample " << i;
  }
  for (int epoch = 0; epoch < 2; ++epoch) {
    for (size_t m = 0; m < 3; ++m) {
      const auto minibatch = std::span(rollouts).subspan(6 * m, 6);
      differentiate_minibatch(policy, lanes, minibatch, config, false);
      Context ctx = lanes.context();
      updates.update(ctx);
      critic.differentiate(lanes, minibatch);
      critic.update(lanes);
    }
  }
  EXPECT_EQ(policy.weights_sha256(), Model::load(after).weights_sha256());
  EXPECT_EQ(critic.model().weights_sha256(), Model::load_value_model(after / "critic").weights_sha256());
  EXPECT_NE(policy.weights_sha256(), Model::load(before).weights_sha256()) << "the step moved nothing";
}

TEST_F(Ppo, ANamedCriticIsTheOneOfAnEarlierRun) {
  finish(ppo_config("a.toml", "a"), "a", 2);
  const std::string critic = (root / "a/checkpoints/step-000004/critic").string();
  const auto again = ppo_config("b.toml", "b", "", "model = \"" + critic + "\"\n");
  ThreadPool threads(2);
  SilentReporter reporter;
  run_ppo_config(again, {.stop_after_steps = 1}, threads, reporter);
  EXPECT_NE(reporter.rows.at(0).get_number("value"), 0.0);
  // It is an input of the run: a resumed one must have the same.
  fs::remove_all(critic);
  fs::copy(base(), critic, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  EXPECT_NE(message(ppo_config("b.toml", "b", "", "model = \"" + critic + "\"\n")).find("holds a run"),
            std::string::npos);
  try {
    run_ppo_config(again, {.resume = true}, threads, reporter);
    FAIL() << "it went on with another critic";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("critic.model"), std::string::npos) << e.what();
  }
  // Nothing samples from a value model.
  finish(ppo_config("c.toml", "c"), "c", 1);
  try {
    ModelBundle::load(root / "c/checkpoints/step-000004/critic");
    FAIL() << "it was loaded";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("is of a value model"), std::string::npos) << e.what();
  }
}

TEST_F(Ppo, MemoryCountsTheCriticAndItsOptimizer) {
  ThreadPool threads(2);
  const auto estimated = [&](const auto& run, const fs::path& config) {
    MemoryEstimate out;
    SilentReporter reporter;
    TrainOptions options;
    options.planned = [&](const MemoryEstimate& step, int64_t) { out = step; };
    run(config, options, threads, reporter, StageOverrides{});
    return out;
  };
  const MemoryEstimate grpo = estimated(run_grpo_config, grpo_config("g.toml", "g")),
                       ppo = estimated(run_ppo_config, ppo_config("p.toml", "p"));
  EXPECT_EQ(grpo.critic.total(), 0);
  EXPECT_EQ(ppo.weights, grpo.weights);
  EXPECT_EQ(ppo.critic.optimizer, 2 * ppo.critic.gradients);
  EXPECT_GT(ppo.critic.total(), (grpo.weights + grpo.gradients + grpo.optimizer) * 3 / 4);
  EXPECT_EQ(ppo.activations, grpo.activations) << "the critic's lie where the policy's were";
  EXPECT_NE(memory_line(ppo, "a step").find("the critic "), std::string::npos);
  // The measured memory is no more than that.
  SilentReporter reporter;
  run_ppo_config(ppo_config("p.toml", "p"), {}, threads, reporter);
  const Json memory = read_json(root / "p/run.json").at("memory_mib");
  EXPECT_GE(memory.get_number("activations"), 0.97 * memory.get_number("measured_activations"))
      << memory.dump();
  EXPECT_NEAR(memory.get_number("critic"), static_cast<double>(ppo.critic.total()) / (1 << 20), 0.06);
}

TEST_F(Ppo, BadConfigurationsAreOneClearLine) {
  const auto with = [&](const std::string& old, const std::string& now) {
    std::string text = read_file(ppo_config("a.toml", "a"));
    return message(write("a.toml", text.replace(text.find(old), old.size(), now)));
  };
  EXPECT_NE(with("lambda = 0.95", "lambda = 1.5").find("critic.lambda is 1.5; it must be between 0 and 1"),
            std::string::npos)
      << with("lambda = 0.95", "lambda = 1.5");
  EXPECT_NE(with("gamma = 0.99", "gamma = -1").find("critic.gamma is -1; it must be between 0 and 1"),
            std::string::npos);
  EXPECT_NE(with("gamma = 0.99", "value_clip = -1").find("critic.value_clip"), std::string::npos);
  EXPECT_NE(with("lambda", "lamda").find("unknown key critic.lamda (did you mean critic.lambda?)"),
            std::string::npos);
  EXPECT_NE(with("gamma = 0.99", "model = \"nothing\"").find("critic.model"), std::string::npos);
  for (const char* ratio : {"ratio = \"token\"", "surrogate = \"ppo\""}) {
    const std::string said = with("[critic]", fmt::format("[loss]\n{}\n[critic]", ratio));
    EXPECT_NE(said.find(" belongs to r1 grpo: "), std::string::npos) << said;
  }
  // A critic learns from groups of equal rewards.
  for (const char* filter : {"dynamic = true", "dynamic = false", "rounds = 2"}) {
    const std::string said = with("[critic]", fmt::format("[filter]\n{}\n[critic]", filter));
    EXPECT_NE(said.find("a.toml:21: filter."), std::string::npos) << said;
    EXPECT_NE(said.find("belongs to r1 grpo, where a group of equal rewards teaches nothing"),
              std::string::npos)
        << said;
    EXPECT_NE(said.find("leave [filter] out"), std::string::npos) << said;
    EXPECT_EQ(said.find('\n'), std::string::npos) << said;
  }
  EXPECT_NE(with("[critic]", "[loss]\nkl_in = \"both\"\n[critic]").find("loss.kl_in"), std::string::npos);
  // A critic of another width, and of another vocabulary.
  const ModelConfig policy = Model::load(base()).config();
  for (const bool wider : {true, false}) {
    ModelConfig other = policy;
    (wider ? other.intermediate_size : other.vocab_size) += 4;
    fs::create_directories(root / "other");
    Model::create(other, 1).save(root / "other", DType::f32);
    const std::string said = with("gamma = 0.99", "model = \"other\"");
    EXPECT_NE(said.find("critic.model names "), std::string::npos) << said;
    EXPECT_NE(said.find(wider ? "intermediate_size is " : "vocab_size is "), std::string::npos) << said;
    EXPECT_NE(said.find("a critic has the policy's architecture and vocabulary"), std::string::npos) << said;
    EXPECT_EQ(said.find('\n'), std::string::npos) << said;
  }
  EXPECT_FALSE(fs::exists(root / "a"));
}

TEST_F(Ppo, GrpoSaysWhatBelongsToPpo) {
  ThreadPool threads(1);
  SilentReporter reporter;
  for (const auto& [more, key] : {std::pair("[critic]\nlambda = 1\n", "a.toml: critic "),
                                  std::pair("[loss]\nkl_in = \"loss\"\n", "a.toml:21: loss.kl_in ")}) {
    try {
      run_grpo_config(grpo_config("a.toml", "a", "", more), {}, threads, reporter);
      FAIL() << more;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(std::string(key) + "belongs to r1 ppo: "), std::string::npos)
          << e.what();
    }
  }
  EXPECT_FALSE(fs::exists(root / "a"));
}

// Every answer is cut off and masked.
TEST_F(Ppo, AStepWithoutAnythingToLearnMovesNeitherThePolicyNorItsCritic) {
  const std::string text = with_nothing_to_learn(
      read_file(ppo_config("a.toml", "a", "minibatches = 3\n", "[loss]\noverlong = \"mask\"\n")));
  ThreadPool threads(1);
  SilentReporter reporter;
  const auto model = run_ppo_config(write("a.toml", text), {.force = true}, threads, reporter);
  EXPECT_TRUE(weights_of(model) == weights_of(base()));
  const fs::path last = root / "a/checkpoints/step-000004";
  EXPECT_EQ(read_json(last / "trainer.json").get_int("updates"), 0);
  EXPECT_EQ(Model::load_value_model(last / "critic").weights_sha256(),
            Model::value_model(Model::load(base())).weights_sha256());
  for (const Json& row : reporter.rows) {
    EXPECT_EQ(row.get_number("critic_lr"), 0.0) << row.dump();
    EXPECT_EQ(row.get_number("value_loss"), 0.0) << row.dump();
  }
}

}  // namespace
}  // namespace r1::ppo_test
