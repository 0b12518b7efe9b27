// What a stage says of its memory before it starts, against what it measured when it was done.
#include "formats/jsonl.h"
#include "tests/train/train_test_util.h"

namespace r1 {
namespace {

class MemoryOfAStage : public RunFolder {
 protected:
  static void expect_near(const Json& run, const char* estimate, const char* measured) {
    const Json& memory = run.at("memory_mib");
    EXPECT_GE(memory.get_number(estimate), 0.97 * memory.get_number(measured)) << memory.dump();
    EXPECT_LE(memory.get_number(estimate), 1.1 * memory.get_number(measured)) << memory.dump();
  }
  // Both lines were said: before the first step, and after the last.
  static void expect_notes(const std::vector<std::string>& notes) {
    const auto said = [&](const std::string& what) {
      return std::ranges::any_of(notes, [&](const std::string& n) { return n.starts_with(what); });
    };
    EXPECT_TRUE(said("memory of a step: weights "));
    EXPECT_TRUE(said("memory measured: activations "));
  }
  std::filesystem::path pretrain_config(int64_t micro, const std::string& out) const {
    return write(out + ".toml", "name = \"t\"\nout = \"" + (root / out).string() + "\"\nmodel = \"" + base() +
                                    "\"\n[data]\nmax_tokens = 100\n[optimizer]\nsteps = 3\n[balance]\nalpha "
                                    "= 0.001\n[batch]\ntokens = 5000\nmicro = " +
                                    std::to_string(micro) + "\n");
  }
};

TEST_F(MemoryOfAStage, PretrainingIsEstimatedWithinATenth) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const int64_t micro : {400, 1500, 4000}) {
      SilentReporter reporter;
      const std::string out = "a" + std::to_string(micro) + "_" + std::to_string(threads);
      run_pretrain_config(pretrain_config(micro, out), {}, pool, reporter);
      expect_near(read_json(root / out / "run.json"), "activations", "measured_activations");
      expect_notes(reporter.notes);
    }
  }
}

TEST_F(MemoryOfAStage, ReinforcementLearningIsEstimatedWithinATenth) {
  ThreadPool pool(2);
  for (const std::string micro : {"300", "900"}) {
    SilentReporter reporter;
    std::string text = read_file(grpo_config("a.toml", "run" + micro, "", "[loss]\nkl = 0.01\n"));
    text.replace(text.find("micro = 300"), 11, "micro = " + micro);
    run_grpo_config(write("a.toml", text), {}, pool, reporter);
    const Json run = read_json(root / ("run" + micro) / "run.json");
    expect_near(run, "activations", "measured_activations");
    expect_near(run, "kv", "measured_kv");
    EXPECT_GT(run.at("memory_mib").get_number("measured_kv"), 1.0);
    expect_notes(reporter.notes);
  }
}

TEST_F(MemoryOfAStage, TooMuchIsRefusedBeforeAnythingIsWritten) {
  ThreadPool pool(1);
  SilentReporter reporter;
  const auto message = [&](const auto& run, const std::filesystem::path& config) -> std::string {
    try {
      run(config, TrainOptions{.memory_limit = 30 << 20}, pool, reporter, StageOverrides{});
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  const std::string pretraining = message(run_pretrain_config, pretrain_config(4000, "a"));
  EXPECT_NE(pretraining.find("--memory-limit of 30 MiB: a step needs about "), std::string::npos)
      << pretraining;
  EXPECT_NE(pretraining.find("lower batch.micro"), std::string::npos) << pretraining;
  const std::string reinforcement = message(run_grpo_config, grpo_config("b.toml", "b"));
  EXPECT_NE(reinforcement.find("rollout.batch"), std::string::npos) << reinforcement;
  EXPECT_FALSE(std::filesystem::exists(root / "a" / "run.json"));
  EXPECT_FALSE(std::filesystem::exists(root / "b"));
}

}  // namespace
}  // namespace r1
