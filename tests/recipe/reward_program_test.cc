// GRPO with a user's program as the reward gives the bits of the built-in task, masks and names failures, and
// ends with the same weights after a kill.
#include "tests/reward/reward_program.h"

#include <fmt/format.h>

#include "base/random.h"
#include "formats/jsonl.h"
#include "reward/verdict.h"
#include "tests/base/kill_at.h"
#include "tests/train/train_test_util.h"
#include "train/grpo_loss.h"

namespace r1::reward_program_test {
namespace {

class RewardProgram : public RunFolder {
 protected:
  static std::string program_section(const std::string& mode, const std::string& more = "") {
    std::string command;
    for (const std::string& word : test::program(mode)) command += "\"" + word + "\", ";
    return "[reward]\naccuracy = 0\n[[reward.program]]\nname = \"check\"\ncommand = [" + command +
           "]\nmemory_mb = 0\n" + more;
  }
  std::string train(const std::filesystem::path& config, bool resume = false,
                    SilentReporter* reporter = nullptr) const {
    ThreadPool threads(2);
    SilentReporter silent;
    return weights_of(run_grpo_config(config, {.resume = resume, .stop_after_steps = 0}, threads,
                                      reporter != nullptr ? *reporter : silent));
  }
};

TEST_F(RewardProgram, GivesTheWeightsOfTheBuiltInTaskToTheBit) {
  SilentReporter built_in, own;
  const std::string want = train(grpo_config("a.toml", "a"), false, &built_in);
  EXPECT_FALSE(want == weights_of(base())) << "nothing was learned: the test shows nothing";
  EXPECT_TRUE(train(grpo_config("b.toml", "b", "", program_section("right", "workers = 3\n")), false, &own) ==
              want);
  ASSERT_EQ(own.rows.size(), built_in.rows.size());
  double accuracy = 0;
  for (size_t i = 0; i < own.rows.size(); ++i) {
    for (const char* key : {"reward", "accuracy", "loss", "thinking_correct"})
      EXPECT_EQ(own.rows[i].get_number(key), built_in.rows[i].get_number(key)) << key;
    EXPECT_EQ(own.rows[i].get_number("verifier_failed"), 0);
    accuracy += own.rows[i].get_number("accuracy");
  }
  EXPECT_GT(accuracy, 0);
}

TEST_F(RewardProgram, WithTheProblemsInAFileItGivesTheWeightsOfTheBuiltInTaskToTheBit) {
  std::string rows;
  for (uint64_t i = 0; i < 12; ++i) {
    const Problem problem = make_problem("countdown3", 5, i, Split::train);
    const Json gold = parse_json(problem.gold, "gold");
    rows += Json(gold).set("task", problem.task).set("question", problem.question).dump() + "\n";
  }
  write("problems.jsonl", rows);
  const std::string want = train(grpo_config("a.toml", "a"));
  std::string text = read_file(grpo_config("b.toml", "b", "", program_section("right", "workers = 3\n")));
  const std::string task = "task = \"countdown3\"";
  text.replace(text.find(task), task.size(),
               "files = [\"problems.jsonl\"]\nshuffle = false\ndeduplicate = false");
  EXPECT_TRUE(train(write("b.toml", text)) == want);
}

TEST_F(RewardProgram, KilledAndResumedItEndsWithTheSameWeights) {
  std::string want;
  const int64_t changes = test::count_changes(
      [&] { want = train(grpo_config("a.toml", "a", "", program_section("length", "threshold = 40\n"))); });
  const auto config =
      grpo_config("b.toml", "b", "", program_section("length", "threshold = 40\nworkers = 1\n"));
  Random random(3);
  for (int killed = 0; killed < 4;) {
    if (test::killed_at_change(random.between(1, changes / 2), [&] { train(config, true); })) {
      ++killed;
    } else {
      std::filesystem::remove_all(root / "b");
    }
  }
  EXPECT_TRUE(train(config, true) == want);
}

TEST_F(RewardProgram, FailuresAreMaskedNamedAndNeverAZero) {
  SilentReporter reporter;
  train(grpo_config("a.toml", "a", "", program_section("some_fail")), false, &reporter);
  std::map<std::pair<int64_t, int64_t>, std::vector<Json>> groups;
  int64_t failed = 0, rest = 0;
  for (const Json& row : read_jsonl(root / "a/samples.jsonl"))
    groups[{row.get_int("step"), row.get_int("prompt")}].push_back(row);
  for (const auto& [key, rows] : groups) {
    std::vector<double> rewards, advantages;
    for (const Json& row : rows) {
      if (row.get_string("status") == "verifier_failed") {
        ++failed;
        EXPECT_EQ(row.get_number("advantage"), 0);
        EXPECT_TRUE(row.get_string("why").starts_with("verifier_failed: check: it says: no idea"))
            << row.get_string("why");
        continue;
      }
      ++rest;
      rewards.push_back(row.get_number("reward"));
      advantages.push_back(row.get_number("advantage"));
    }
    EXPECT_EQ(advantages,
              group_advantages(rewards, std::max<int64_t>(1, std::ssize(rewards)), Normalise::group));
  }
  EXPECT_GT(failed, 0);
  EXPECT_GT(rest, failed);
  double share = 0;
  for (const Json& row : reporter.rows) share += row.get_number("verifier_failed");
  EXPECT_NEAR(share, static_cast<double>(failed) / 18, 1e-9) << "18 samples a step";
  const bool named = std::ranges::any_of(reporter.notes, [](const std::string& line) {
    return line.find("prompt ") != std::string::npos && line.find("sample ") != std::string::npos;
  });
  EXPECT_TRUE(named);
}

TEST_F(RewardProgram, AStepWithoutAnyVerdictSaysHowToGoOn) {
  const auto config =
      grpo_config("c.toml", "c", "", program_section("fails_in_step_1", "truncated = true\n"));
  try {
    train(config);
    FAIL() << "the run went on";
  } catch (const Error& e) {
    const std::string what = e.what();
    EXPECT_TRUE(what.starts_with("step 1: the verifier failed for all 18 samples that it was asked about"))
        << what;
    EXPECT_NE(what.find("it says: no idea; mend it, then go on with --resume"), std::string::npos) << what;
  }
}

TEST_F(RewardProgram, APreflightWithoutAnyVerdictStopsTheRunAndNamesTheProgram) {
  const auto config = grpo_config("a.toml", "a", "", program_section("always_exit", "truncated = true\n"));
  try {
    train(config);
    FAIL() << "the run went on";
  } catch (const Error& e) {
    const std::string what = e.what();
    EXPECT_NE(what.find("preflight: the verifier failed for all 6 samples that it was asked about; the first "
                        "is prompt 0 sample 0: "
                        "verifier_failed: check: it exited with status 1"),
              std::string::npos)
        << what;
  }
  EXPECT_FALSE(std::filesystem::exists(root / "a/model"));
}

TEST_F(RewardProgram, AProgramThatIsNotThereIsAnErrorOfItsLine) {
  const auto config =
      grpo_config("a.toml", "a", "", "[[reward.program]]\nname = \"p\"\ncommand = [\"no-such-program\"]\n");
  try {
    train(config);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(
                  "reward.program[0].command begins with no-such-program, which is no program in PATH"),
              std::string::npos)
        << e.what();
  }
}

TEST_F(RewardProgram, AChangedProgramIsNotResumedButItsLimitsMayChange) {
  write("check.txt", "one");
  const auto section = [](const std::string& more) {
    std::string text = program_section("right", more);
    return text.replace(text.find(", ]"), 3, ", \"check.txt\"]");
  };
  const auto config = grpo_config("a.toml", "a", "", section(""));
  ThreadPool threads(1);
  SilentReporter reporter;
  run_grpo_config(config, {.resume = false, .stop_after_steps = 1}, threads, reporter);
  write("check.txt", "two");
  EXPECT_THROW(train(config, true), Error);
  write("check.txt", "one");
  grpo_config("a.toml", "a", "", section("workers = 5\ntimeout_s = 77\n"));
  EXPECT_NO_THROW(train(config, true));
}

TEST_F(RewardProgram, EveryTermTrainsAndIsWrittenDown) {
  SilentReporter reporter;
  train(grpo_config("a.toml", "a", "",
                    "[reward]\nlanguage = 0.1\nlanguage_target = \"en\"\nrepetition = 0.2\nlength = 0.1\n"),
        false, &reporter);
  EXPECT_EQ(reporter.rows.size(), 4u);
}

TEST(GroupAdvantages, LeftOutSamplesDoNotMoveTheOthers) {
  const std::vector<double> all = {1, 7, 0, 1, 9, 0}, rest = {1, 0, 1, 0};
  for (const Normalise n : {Normalise::group, Normalise::batch, Normalise::none}) {
    const auto got = group_advantages(all, {false, true, false, false, true, false}, 3, n);
    const auto want = group_advantages(rest, 2, n);
    EXPECT_EQ(got, (std::vector<double>{want[0], 0, want[1], want[2], 0, want[3]}));
  }
  EXPECT_EQ(group_advantages(all, std::vector<bool>(6, true), 3, Normalise::group), std::vector<double>(6));
}

}  // namespace
}  // namespace r1::reward_program_test
