// examples/coins, shortened: the generator, a base from its corpus, reinforcement learning with its checker,
// the evaluation.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "tests/cli/cli_test_util.h"

namespace r1::example_test {
namespace {

using test::r1_run;

class Coins : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v python3 >/dev/null") != 0)
      GTEST_SKIP() << "python3 is missing: the example is NOT tested";
    folder_ = test::scratch() / "coins";
    std::filesystem::remove_all(folder_);
    std::filesystem::copy(std::filesystem::path(R1_SOURCE_DIR) / "examples/coins", folder_,
                          std::filesystem::copy_options::recursive);
    std::filesystem::create_directories(folder_ / "data");
    const std::string command = "cd '" + (folder_ / "data").string() + "' && python3 ../generate.py 1";
    ASSERT_EQ(std::system(command.c_str()), 0);
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }

  std::filesystem::path folder_;
};

TEST_F(Coins, GoesFromACorpusToAnEvaluation) {
  const std::string base = "out=\"" + at("base") + "\"", zero = "out=\"" + at("zero") + "\"";
  const auto pretrain =
      r1_run({"pretrain", at("base.toml"), "--set", base, "--set", "optimizer.steps=3", "--set",
              "optimizer.warmup=1", "--set", "data.limit=500", "--set", "batch.tokens=1024"});
  ASSERT_EQ(pretrain.status, 0) << pretrain.err;
  const std::string model = at("base/model");
  const auto grpo = r1_run({"grpo", at("zero.toml"), "--set", zero, "--set", "model=\"" + model + "\"",
                            "--set", "optimizer.steps=1", "--set", "rollout.prompts=2", "--set",
                            "rollout.group=4", "--set", "rollout.max_tokens=24", "--force"});
  ASSERT_EQ(grpo.status, 0) << grpo.err;
  const auto eval = r1_run({"eval", at("zero/model"), "--task", at("data/held_out.jsonl"), "--reward",
                            at("zero.toml"), "--problems", "3", "--max-tokens", "24", "--json"});
  ASSERT_EQ(eval.status, 0) << eval.err;
  EXPECT_EQ(parse_json(eval.out, "eval").get_int("verifier_failed"), 0);
}

TEST_F(Coins, TheCheckerKnowsRightFromWrong) {
  const std::string model = "model=\"" R1_SOURCE_DIR "/models/r1-nano\"";
  const auto result = r1_run(
      {"reward", at("zero.toml"), "--set", model, "--input", "-"},
      R"J({"question":"Pay 17 with coins of 3, 4 and 8.","response":"<think></think><answer>3+3+3+8</answer>"}
{"question":"Pay 17 with coins of 3, 4 and 8.","response":"<think></think><answer>8+8</answer>"}
{"question":"Pay 17 with coins of 3, 4 and 8.","response":"<think></think><answer>17</answer>"}
{"question":"Pay 17 with coins of 3, 4 and 8.","response":"<think></think><answer>a lot</answer>"}
)J");
  ASSERT_EQ(result.status, 0) << result.err;
  const auto rows = test::rows_of(result.out);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_TRUE(rows[0].get_bool("correct"));
  EXPECT_EQ(rows[1].get_string("why"), "the coins are worth 16");
  EXPECT_EQ(rows[2].get_string("why"), "a coin that does not exist");
  EXPECT_EQ(rows[3].get_string("why"), "not a sum of coins");
}

TEST_F(Coins, NoHeldOutProblemIsLearnt) {
  const std::string held_out = read_file(folder_ / "data/held_out.jsonl");
  const std::string corpus = read_file(folder_ / "data/corpus.jsonl"),
                    problems = read_file(folder_ / "data/problems.jsonl");
  const auto rows = test::rows_of(held_out);
  ASSERT_EQ(rows.size(), 150u);
  for (const Json& row : rows) {
    EXPECT_EQ(corpus.find(row.get_string("question")), std::string::npos);
    EXPECT_EQ(problems.find(row.get_string("question")), std::string::npos);
  }
}

}  // namespace
}  // namespace r1::example_test
