// GRPO runs on the shipped base: sampler and trainer agree to the bit, and a run killed anywhere ends with
// the same weights.
#include "train/grpo.h"

#include <signal.h>
#include <sys/wait.h>

#include "base/random.h"
#include "base/text_util.h"
#include "engine/model_bundle.h"
#include "formats/jsonl.h"
#include "model/scoring.h"
#include "tests/train/train_test_util.h"

namespace r1 {
namespace {

using Grpo = RunFolder;

std::string finish(const std::filesystem::path& config, int threads, bool resume = false) {
  ThreadPool pool(threads);
  SilentReporter reporter;
  return read_file(run_grpo_config(config, {.resume = resume, .stop_after_steps = 0}, pool, reporter) /
                   "model.safetensors");
}

TEST_F(Grpo, SamplerAndTrainerAgreeExactlyAtEveryStep) {
  for (const std::string rollout : {"", "minibatches = 3\nepochs = 2\n", "temperature = 0.7\n"}) {
    const auto config = grpo_config("a.toml", "a", rollout, "[loss]\nkl = 0.05\nreference_every = 2\n");
    ThreadPool threads(2);
    SilentReporter reporter;
    run_grpo_config(config, {}, threads, reporter);
    ASSERT_EQ(reporter.rows.size(), 4u);
    bool learned = false;
    for (const Json& row : reporter.rows) {
      EXPECT_EQ(row.get_number("sampler_trainer_kl"), 0.0) << row.dump();
      EXPECT_EQ(row.get_number("sampler_trainer_max_abs"), 0.0) << row.dump();
      learned = learned || row.get_number("grad_norm") > 0;
      for (const char* key :
           {"step", "wall_s", "tokens", "loss", "lr", "grad_norm", "reward", "accuracy", "length", "entropy",
            "kl", "clip_fraction", "truncated", "sample_s", "train_s", "update_s"}) {
        EXPECT_TRUE(row.contains(key)) << key;
      }
    }
    EXPECT_TRUE(learned) << "no step had a gradient: the test shows nothing";
    std::filesystem::remove_all(root / "a");
  }
}

TEST_F(Grpo, ComparisonSeesOneChangedWeight) {
  ConfigFile file = ConfigFile::read(grpo_config("a.toml", "a"));
  const GrpoConfig config = read_grpo_config(file);
  ModelBundle bundle = ModelBundle::load(base());
  ThreadPool threads(2);
  SilentReporter reporter;
  GrpoHooks hooks;
  hooks.after_sampling = [](Model& model) {
    Parameter& p = model.parameters()[5];
    p.value.f32()[0] += 0.01f;
    ++p.version;
  };
  grpo(bundle, config, file, threads, reporter, {.resume = false, .stop_after_steps = 1}, hooks);
  EXPECT_GT(reporter.rows.at(0).get_number("sampler_trainer_kl"), 0.0);
  EXPECT_GT(reporter.rows.at(0).get_number("sampler_trainer_max_abs"), 0.0);
}

TEST_F(Grpo, ThreadsChangeNoBit) {
  EXPECT_EQ(finish(grpo_config("a.toml", "a"), 1), finish(grpo_config("b.toml", "b"), 2));
}

TEST_F(Grpo, MicroBatchesChangeNoBit) {
  const auto a = grpo_config("a.toml", "a");
  std::string text = read_file(grpo_config("b.toml", "b"));
  text.replace(text.find("micro = 300"), 11, "micro = 5000");
  EXPECT_EQ(finish(a, 2), finish(write("b.toml", text), 2));
}

TEST_F(Grpo, RunKilledAtTenRandomMomentsEndsWithTheSameWeights) {
  const std::string want =
      finish(grpo_config("a.toml", "a", "", "[loss]\nkl = 0.02\nreference_every = 2\n"), 1);
  const auto config = grpo_config("b.toml", "b", "", "[loss]\nkl = 0.02\nreference_every = 2\n");
  Random random(17);
  int killed = 0;
  for (int round = 0; round < 10; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      finish(config, 1, true);
      ::_exit(0);
    }
    ::usleep(static_cast<useconds_t>(random.between(5000, 700000)));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) ++killed;
    if (std::filesystem::exists(root / "b" / "model"))
      std::filesystem::remove_all(root / "b");  // done too soon: begin again
  }
  EXPECT_GT(killed, 3);
  EXPECT_EQ(finish(config, 2, true), want);
  // One row a step, whatever was killed.
  std::vector<int64_t> steps;
  for (const Json& row : read_jsonl(root / "b" / "metrics.jsonl")) steps.push_back(row.get_int("step"));
  EXPECT_EQ(steps, (std::vector<int64_t>{1, 2, 3, 4}));
}

TEST_F(Grpo, SamplesCanBeScoredAgainToTheSameStrings) {
  finish(grpo_config("a.toml", "a"), 2);
  const Model model = Model::load(base());
  ThreadPool threads(2);
  Lanes lanes(threads, Numerics::cpu_f32);
  int64_t compared = 0;
  for (const Json& row : read_jsonl(root / "a" / "samples.jsonl")) {
    if (row.get_int("step") != 1) continue;
    ASSERT_EQ(row.get_string("weights_sha256"), model.weights_sha256());
    std::vector<int32_t> tokens;
    for (const Json& t : row.at("prompt_tokens").items()) tokens.push_back(static_cast<int32_t>(t.integer()));
    const int64_t from = static_cast<int64_t>(tokens.size());
    for (const Json& t : row.at("tokens").items()) tokens.push_back(static_cast<int32_t>(t.integer()));
    const ScoredRow scored{tokens, from};
    const auto lp = score(model, lanes, {&scored, 1}, {});
    for (size_t i = 0; i < lp[0].size(); ++i)
      EXPECT_EQ(hex_float(lp[0][i]), row.at("logprobs").at(i).string());
    ++compared;
  }
  EXPECT_EQ(compared, 18);
}

TEST_F(Grpo, BadConfigurationsAreOneClearLine) {
  ThreadPool threads(1);
  SilentReporter reporter;
  const auto message = [&](const std::filesystem::path& config, bool resume = false) -> std::string {
    try {
      run_grpo_config(config, {.resume = resume, .stop_after_steps = 1}, threads, reporter);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  std::string text = read_file(grpo_config("a.toml", "a"));
  text.replace(text.find("max_tokens"), 10, "max_token");
  EXPECT_NE(message(write("a.toml", text))
                .find("a.toml:10: unknown key rollout.max_token (did you mean rollout.max_tokens?)"),
            std::string::npos)
      << message(root / "a.toml");
  EXPECT_NE(message(write("b.toml", "name = \"x\"\n[rollout\n")).find("b.toml:2: not valid TOML"),
            std::string::npos);
  const auto good = grpo_config("c.toml", "c");
  EXPECT_EQ(message(good), "");
  EXPECT_NE(message(good).find("add --resume"), std::string::npos);
  EXPECT_NE(message(grpo_config("c.toml", "c", "temperature = 0.9\n"), true).find("another configuration"),
            std::string::npos);
  EXPECT_NE(message(grpo_config("d.toml", "d", "prompts = 4\n")).find("not valid TOML"),
            std::string::npos);  // twice
  std::string task = read_file(grpo_config("e.toml", "e"));
  task.replace(task.find("countdown3"), 10, "countdwn33");
  EXPECT_NE(message(write("e.toml", task)).find("unknown task"), std::string::npos);
  task.replace(task.find("countdwn33"), 10, "game24");
  EXPECT_NE(message(write("e.toml", task)).find("game24 has no training problems"), std::string::npos);
}

TEST_F(Grpo, FullDiskDuringACheckpointLosesNothing) {
  const auto disk = root / "disk";
  std::filesystem::create_directories(disk);
  if (std::system(("mount -t tmpfs -o size=64m none " + disk.string() + " 2>/dev/null").c_str()) != 0) {
    GTEST_SKIP() << "a tmpfs cannot be mounted here (root is needed): the full-disk test is SKIPPED";
  }
  struct Unmount {
    std::string path;
    ~Unmount() { EXPECT_EQ(std::system(("umount " + path).c_str()), 0); }
  } unmount{disk.string()};
  const auto config = grpo_config("a.toml", "disk/run");
  ThreadPool threads(2);
  SilentReporter reporter;
  run_grpo_config(config, {.resume = false, .stop_after_steps = 1}, threads, reporter);
  write_file_atomically(disk / "ballast", std::string(size_t{44} << 20, 'x'));
  std::string message;
  try {
    run_grpo_config(config, {.resume = true, .stop_after_steps = 0}, threads, reporter);
  } catch (const Error& e) {
    message = e.what();
  }
  EXPECT_NE(message.find("no space left"), std::string::npos) << message;
  EXPECT_NE(message.find("is intact"), std::string::npos) << message;
  std::filesystem::remove(disk / "ballast");
  EXPECT_EQ(finish(config, 2, true), finish(grpo_config("b.toml", "b"), 2));
}

}  // namespace
}  // namespace r1
