// The preflight of a run: it changes no bit, and it refuses a run that cannot learn.
#include "base/text_util.h"
#include "formats/jsonl.h"
#include "recipe/recipe.h"
#include "tests/train/train_test_util.h"
#include "train/grpo.h"

namespace r1::preflight_run_test {
namespace {

class PreflightOfRun : public RunFolder {
 protected:
  // Returns the error of a run, or "".
  std::string run(const std::filesystem::path& config, const TrainOptions& options = {}) {
    ThreadPool threads(2);
    reporter = SilentReporter();
    try {
      run_grpo_config(config, options, threads, reporter);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
  bool was_preflighted() const {
    return std::ranges::any_of(reporter.notes,
                               [](const std::string& n) { return n.starts_with("preflight: "); });
  }
  std::filesystem::path changed(const std::string& name, const std::string& out, const std::string& from,
                                const std::string& to) {
    std::string text = read_file(grpo_config(name, out));
    return write(name, text.replace(text.find(from), from.size(), to));
  }
  SilentReporter reporter;
};

TEST_F(PreflightOfRun, ChangesNoBitOfTheRun) {
  const auto with = grpo_config("a.toml", "a"), without = grpo_config("b.toml", "b");
  ASSERT_EQ(run(with), "");
  EXPECT_TRUE(was_preflighted());
  {
    ConfigFile file = ConfigFile::read(without);
    GrpoConfig config = read_grpo_config(file);
    (void)file.text("model");
    ModelBundle bundle = ModelBundle::load(base());
    ThreadPool threads(2);
    SilentReporter silent;
    RunDirectory run(config.run, file, false);
    grpo(bundle, config, run, {}, threads, silent, {});  // which has no preflight
  }
  EXPECT_TRUE(weights_of(root / "a/model") == weights_of(root / "b/model"));
  EXPECT_EQ(read_file(root / "a/samples.jsonl"), read_file(root / "b/samples.jsonl"));
}

TEST_F(PreflightOfRun, IsMadeBeforeTheFirstStepOnly) {
  const auto config = grpo_config("a.toml", "a");
  ASSERT_EQ(run(config, {.resume = true, .stop_after_steps = 2}), "");
  EXPECT_TRUE(was_preflighted()) << "--resume of a run that has done nothing begins it";
  ASSERT_EQ(run(config, {.resume = true}), "");
  EXPECT_FALSE(was_preflighted());
}

TEST_F(PreflightOfRun, AnswersThatAreCutOffAreRefusedWithTheSetting) {
  const auto config = changed("a.toml", "a", "max_tokens = 40", "max_tokens = 8");
  const std::string error = run(config);
  EXPECT_NE(error.find("of the answers are cut off at rollout.max_tokens = 8"), std::string::npos) << error;
  EXPECT_NE(error.find("raise rollout.max_tokens, for example to 32"), std::string::npos) << error;
  EXPECT_NE(error.find("--force"), std::string::npos) << error;
  EXPECT_FALSE(std::filesystem::exists(root / "a")) << "nothing is made before the refusal";
}

TEST_F(PreflightOfRun, ATaskThatIsNeverSolvedIsRefusedAndForceTrains) {
  const auto config = changed("a.toml", "a", "task = \"countdown3\"", "task = \"equations\"");
  const std::string error = run(config);
  EXPECT_NE(error.find("in none of 95 groups of 6 answers do the rewards differ"), std::string::npos)
      << error;
  EXPECT_EQ(run(config, {.force = true, .stop_after_steps = 1}), "");
  EXPECT_EQ(reporter.rows.size(), 1u);
}

TEST_F(PreflightOfRun, ARecipesStageIsRefusedToo) {
  changed("a.toml", "ignored", "max_tokens = 40", "max_tokens = 8");
  const auto recipe =
      write("r.toml", "name = \"r\"\nout = \"" + (root / "r").string() +
                          "\"\n[[stage]]\nname = \"zero\"\nkind = \"grpo\"\nconfig = \"a.toml\"\n");
  struct Reporter : RecipeReporter {
    void stage(const std::string&, const std::string&, int64_t, int64_t) override {}
    void evaluated(const std::string&, const Json&) override {}
    void progress(int64_t, int64_t) override {}
    void step(const Json&, int64_t) override { ++steps; }
    void note(const std::string&) override {}
    int steps = 0;
  } silent;
  ThreadPool threads(2);
  EXPECT_THROW(run_recipe(recipe, {}, threads, silent), Error);
  EXPECT_EQ(silent.steps, 0);
  // Setting one key of the stage's file from outside makes the run possible.
  run_recipe(recipe, {.resume = true, .set = {"zero.rollout.max_tokens=40", "zero.optimizer.steps=2"}},
             threads, silent);
  EXPECT_EQ(silent.steps, 2);
  EXPECT_EQ(read_json(root / "r/zero/run.json").at("settings").get_int("rollout.max_tokens"), 40);
}

TEST_F(PreflightOfRun, SaysWhatTheRunWillBe) {
  ThreadPool threads(2);
  const PreflightOfConfig p = preflight_grpo_config(grpo_config("a.toml", "a"), {}, {}, threads, reporter);
  EXPECT_EQ(p.preflight.groups.size(), 8u);
  EXPECT_EQ(p.preflight.samples(), 48);
  EXPECT_GT(p.preflight.accuracy().value, 0);
  EXPECT_GT(p.preflight.micro_batch, 0);
  EXPECT_GT(p.preflight.sample_s, 0);
  EXPECT_GT(p.preflight.train_s, 0);
  EXPECT_GT(p.preflight.memory.total(), 0);
  EXPECT_FALSE(std::filesystem::exists(root / "a"));
  // A second preflight gives the same figures.
  const PreflightOfConfig again = preflight_grpo_config(root / "a.toml", {}, {}, threads, reporter);
  EXPECT_EQ(again.preflight.accuracy().value, p.preflight.accuracy().value);
}

// Without any time, one group of the fewest tokens is sampled, and nothing is refused.
TEST_F(PreflightOfRun, ASlowModelIsAskedLess) {
  ThreadPool threads(2);
  const auto config = changed("a.toml", "a", "max_tokens = 40", "max_tokens = 400");
  const PreflightOfConfig p =
      preflight_grpo_config(config, {.groups = 8, .seconds = 1e-6}, {}, threads, reporter);
  EXPECT_EQ(p.preflight.groups.size(), 1u);
  EXPECT_EQ(p.preflight.sampled_to, 64);
  EXPECT_FALSE(std::ranges::any_of(p.found, &PreflightFinding::refuses));
}

TEST_F(PreflightOfRun, CanBeStopped) {
  ThreadPool threads(2);
  EXPECT_THROW(run_grpo_config(grpo_config("a.toml", "a"), {.stop = [] { return true; }}, threads, reporter),
               Stopped);
  EXPECT_FALSE(std::filesystem::exists(root / "a"));
}

}  // namespace
}  // namespace r1::preflight_run_test
