// When a run saves and how it stops, with a clock and a stop flag of the test.
#include "train/step_loop.h"

#include "base/error.h"
#include "formats/jsonl.h"
#include "tests/train/train_test_util.h"

namespace r1::step_loop_test {
namespace {

namespace fs = std::filesystem;

class StepLoop : public RunFolder {
 protected:
  StepLoop()
      : file(ConfigFile::parse("", "some.toml")),
        run({.kind = "grpo", .name = "a", .out = root / "a"}, file, false) {}

  StageSteps stage(int64_t steps) {
    return {.steps = steps,
            .step =
                [this](TrainerState& at) {
                  if (at.step + 1 == abandoned) throw StepAbandoned();
                  ++at.step;
                  now += step_seconds;
                },
            .save_state =
                [this](const fs::path&) {
                  now += save_seconds;
                  ++saves;
                },
            .save_model = [](const fs::path& d) { write_file_atomically(d / "config.json", "{}"); }};
  }
  TrainOptions options() {
    return {.stop = [this] { return stop_after > 0 && --stop_after == 0; },
            .seconds = [this] { return now; }};
  }
  std::vector<std::string> kept() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(root / "a/checkpoints"))
      names.push_back(entry.path().filename().string());
    std::ranges::sort(names);
    return names;
  }

  ConfigFile file;
  RunDirectory run;
  TrainerState state;
  double now = 0, step_seconds = 50, save_seconds = 0;
  int saves = 0, stop_after = 0;
  int64_t abandoned = 0;
};

TEST_F(StepLoop, SavesByDefaultAboutEveryTwoMinutes) {
  EXPECT_TRUE(run_steps(run, state, {.keep = 100}, stage(10), options()));
  // A step takes 50 s: states are saved after steps 3, 6 and 9, and the last state is saved too.
  EXPECT_EQ(kept(), (std::vector<std::string>{"step-000003", "step-000006", "step-000009", "step-000010"}));
}

TEST_F(StepLoop, ASlowDiskCostsATwentiethOfTheTimeAtMost) {
  save_seconds = 60;
  EXPECT_TRUE(run_steps(run, state, {.keep = 100}, stage(60), options()));
  // The first save comes after 150 s, and the next ones 20 x 60 s = 24 steps later.
  EXPECT_EQ(kept(), (std::vector<std::string>{"step-000003", "step-000027", "step-000051", "step-000060"}));
}

TEST_F(StepLoop, AGivenNumberOfStepsIsKeptTo) {
  EXPECT_TRUE(run_steps(run, state, {.every = 4, .keep = 100}, stage(9), options()));
  EXPECT_EQ(kept(), (std::vector<std::string>{"step-000004", "step-000008", "step-000009"}));
}

TEST_F(StepLoop, ZeroIsNeverUnlessTheRunIsStopped) {
  EXPECT_TRUE(run_steps(run, state, {.every = 0}, stage(9), options()));
  EXPECT_EQ(saves, 0);
}

TEST_F(StepLoop, AStopSavesTheStepThatIsDone) {
  stop_after = 4;
  try {
    run_steps(run, state, {.every = 0}, stage(9), options());
    FAIL() << "it went on";
  } catch (const Stopped& e) {
    EXPECT_STREQ(e.what(), "stopped: step 3 of 9 is saved");
  }
  EXPECT_EQ(kept(), std::vector<std::string>{"step-000003"});
  EXPECT_FALSE(fs::exists(root / "a/model"));
}

TEST_F(StepLoop, AnAbandonedStepGoesBackToTheOneBefore) {
  abandoned = 6;
  EXPECT_THROW(run_steps(run, state, {}, stage(9), options()), Stopped);
  EXPECT_EQ(kept().back(), "step-000005");
}

TEST_F(StepLoop, AStopBeforeTheFirstStepSavesNothing) {
  stop_after = 1;
  try {
    run_steps(run, state, {}, stage(9), options());
    FAIL() << "it went on";
  } catch (const Stopped& e) {
    EXPECT_STREQ(e.what(), "stopped before the first of 9 steps was done");
  }
  EXPECT_TRUE(kept().empty());
}

}  // namespace
}  // namespace r1::step_loop_test
