#include "eval/evaluate.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>

#include "reward/verifier.h"
#include "tests/engine/opened_model.h"
#include "text/think.h"

namespace r1::evaluate_test {
namespace {

// correct[i] is the number of correct samples of problem i.
EvalResult result_of(const std::vector<int64_t>& correct, int64_t samples) {
  EvalResult result;
  result.problems = static_cast<int64_t>(correct.size());
  result.samples = samples;
  for (size_t i = 0; i < correct.size(); ++i) {
    for (int64_t s = 0; s < samples; ++s) {
      EvalSample row;
      row.problem = static_cast<int64_t>(i);
      row.sample = s;
      row.tokens = 10 + s;
      row.thinking = 4 + s;
      row.verdict.correct = s < correct[i];
      row.verdict.well_formed = s < correct[i] + 1;
      row.finish = row.verdict.correct ? FinishReason::stop : FinishReason::length;
      result.rows.push_back(row);
    }
  }
  summarise(result);
  return result;
}

// Computes pass@k by counting subsets.
double brute_force(int samples, int correct, int k) {
  int all = 0, lucky = 0;
  for (int set = 0; set < 1 << samples; ++set) {
    if (__builtin_popcount(static_cast<unsigned>(set)) != k) continue;
    ++all;
    lucky += (set & ((1 << correct) - 1)) != 0 ? 1 : 0;
  }
  return static_cast<double>(lucky) / all;
}

TEST(PassAtK, IsTheShareOfSubsetsWithACorrectSample) {
  for (int samples = 1; samples <= 8; ++samples) {
    for (int correct = 0; correct <= samples; ++correct) {
      for (int k = 1; k <= samples; ++k) {
        EXPECT_NEAR(pass_at_k(samples, correct, k), brute_force(samples, correct, k), 1e-12)
            << samples << " samples, " << correct << " correct, k " << k;
      }
    }
  }
}

TEST(PassAtK, LargeCountsDoNotOverflow) {
  EXPECT_NEAR(pass_at_k(100000, 1, 50000), 0.5, 1e-9);
  EXPECT_THROW(pass_at_k(4, 2, 5), BrokenInvariant);
}

TEST(Summary, IntervalIsClusteredByProblem) {
  const EvalResult r = result_of({4, 0, 2, 2}, 4);
  EXPECT_DOUBLE_EQ(r.pass_at_1, 0.5);
  const double se = std::sqrt((0.25 + 0.25) / (4 * 3));
  EXPECT_NEAR(r.low, 0.5 - 1.96 * se, 1e-12);
  EXPECT_NEAR(r.high, 0.5 + 1.96 * se, 1e-12);
  // More samples of the same problems with the same shares do not narrow the interval.
  const EvalResult more = result_of({40, 0, 20, 20}, 40);
  EXPECT_NEAR(more.low, r.low, 1e-12);
}

TEST(Summary, IntervalIsWilsonsIfTheProblemsDoNotDiffer) {
  const double zz = 1.96 * 1.96;
  for (const int64_t n : {1, 2, 10, 200}) {
    const EvalResult none = result_of(std::vector<int64_t>(static_cast<size_t>(n), 0), 4);
    EXPECT_EQ(none.low, 0.0);
    EXPECT_NEAR(none.high, zz / (static_cast<double>(n) + zz), 1e-12) << n;
    const EvalResult all = result_of(std::vector<int64_t>(static_cast<size_t>(n), 4), 4);
    EXPECT_NEAR(all.low, static_cast<double>(n) / (static_cast<double>(n) + zz), 1e-12) << n;
    EXPECT_EQ(all.high, 1.0);
  }
  // Each problem has 1 of 3 samples right: the problems do not differ, but the result is still uncertain.
  const EvalResult third = result_of({1, 1, 1, 1, 1}, 3);
  EXPECT_NEAR(third.low, 0.086691, 1e-6);  // Wilson's interval of a share of 1/3 of 5 trials
  EXPECT_NEAR(third.high, 0.724806, 1e-6);
}

TEST(Summary, IntervalStaysWithinZeroAndOne) {
  const EvalResult one = result_of({2}, 4);
  EXPECT_EQ(one.low, 0.0);
  EXPECT_EQ(one.high, 1.0);
  const EvalResult mixed = result_of({0, 0, 1}, 1);
  EXPECT_EQ(mixed.low, 0.0);
  EXPECT_LE(mixed.high, 1.0);
}

TEST(Summary, CountsLengthsAndShares) {
  const EvalResult r = result_of({2, 0}, 4);
  EXPECT_DOUBLE_EQ(r.mean_length, 11.5);
  EXPECT_DOUBLE_EQ(r.mean_thinking, 4.5);  // samples 0 and 1 of problem 0
  EXPECT_DOUBLE_EQ(r.well_formed, 4.0 / 8);
  EXPECT_DOUBLE_EQ(r.truncated, 6.0 / 8);
  EXPECT_EQ(r.tokens, 92);
  ASSERT_EQ(r.pass_at.size(), 3u);
  EXPECT_EQ(r.pass_at[2].k, 4);
  EXPECT_DOUBLE_EQ(r.pass_at[2].value, 0.5);
  EXPECT_EQ(result_of({0}, 2).mean_thinking, 0.0) << "nothing is correct";
}

TEST(Summary, ListsPowersOfTwoAndTheNumberOfSamples) {
  std::vector<int64_t> ks;
  for (const PassAtK& p : result_of({1, 2}, 6).pass_at) ks.push_back(p.k);
  EXPECT_EQ(ks, (std::vector<int64_t>{1, 2, 4, 6}));
}

// R1's distilled models end the prompt with <think>, so their answers begin inside the thought.
TEST(Evaluate, APromptThatOpensTheThoughtScoresLikeTheTagPutBack) {
  const auto root = std::filesystem::temp_directory_path() / ("r1_eval_" + std::to_string(::getpid()));
  const ModelBundle bundle = ModelBundle::load(test::opened_model("r1-nano", root));
  std::filesystem::remove_all(root);
  std::vector<Problem> problems;
  for (uint64_t i = 0; i < 12; ++i) problems.push_back(make_problem("countdown3", 0, i, Split::held_out));
  ThreadPool threads(2);
  Arena arena;
  Context ctx{.arena = arena, .threads = threads, .numerics = Numerics::cpu_f32};
  EvalOptions options;
  options.sampling.samples = 2;
  options.sampling.max_tokens = 112;
  const EvalResult result = evaluate(bundle, ctx, problems, options);
  int64_t right = 0, thinking = 0;
  for (const EvalSample& row : result.rows) {
    EXPECT_TRUE(row.prompt_opened);
    EXPECT_TRUE(sample_row(problems[0], row).get_bool("prompt_opened"));
    const Verdict want = verify(problems[static_cast<size_t>(row.problem)], "<think>" + row.text);
    EXPECT_EQ(row.verdict.why, row.finish == FinishReason::stop ? want.why : "truncated") << row.text;
    EXPECT_EQ(split_think(row.text, true).thought.empty(), row.thinking == 0) << row.text;
    EXPECT_EQ(row.thinking < row.tokens, split_think(row.text, true).closed) << row.text;
    right += row.verdict.correct ? 1 : 0;
    thinking += row.verdict.correct ? row.thinking : 0;
  }
  EXPECT_GT(right, 8) << "the shipped model solves more than half";
  EXPECT_DOUBLE_EQ(result.pass_at_1, static_cast<double>(right) / 24);
  EXPECT_DOUBLE_EQ(result.mean_thinking, static_cast<double>(thinking) / static_cast<double>(right));
  EXPECT_FALSE(sample_row(problems[0], EvalSample{}).contains("prompt_opened"));
}

}  // namespace
}  // namespace r1::evaluate_test
