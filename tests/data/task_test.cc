#include "data/task.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "data/countdown_question.h"

namespace r1::task_test {
namespace {

TEST(Task, CountdownIsAPureFunctionOfItsArguments) {
  std::set<std::string> questions;
  for (const std::string name : {"countdown", "countdown3", "countdown4"}) {
    for (const Split split : {Split::train, Split::held_out}) {
      for (uint64_t i = 0; i < 200; ++i) {
        const Problem problem = make_problem(name, 41, i, split);
        ASSERT_EQ(problem, make_problem(name, 41, i, split));
        ASSERT_EQ(problem.task, name);
        const CountdownProblem countdown = countdown_of(problem);
        ASSERT_EQ(is_held_out(countdown.numbers), split == Split::held_out) << problem.question;
        ASSERT_TRUE(parse_question(problem.question) == countdown) << problem.question;
        ASSERT_EQ(problem.key, countdown_content(countdown.numbers));
        if (name != "countdown") {
          ASSERT_EQ(countdown.numbers.size(), name == "countdown3" ? 3u : 4u);
        }
        questions.insert(problem.question);
      }
    }
  }
  EXPECT_GT(questions.size(), 1180u);  // of 1,200: lists do not repeat each other
}

TEST(Task, Countdown99HasNumbersTo99AndMostlySumsAndDifferences) {
  int four = 0, large = 0, sums = 0;
  constexpr int kProblems = 400;
  for (uint64_t i = 0; i < kProblems; ++i) {
    const Problem problem = make_problem("countdown99", 5, i, Split::train);
    const CountdownProblem countdown = countdown_of(problem);
    ASSERT_FALSE(is_held_out(countdown.numbers)) << problem.question;
    ASSERT_TRUE(countdown.target >= 10 && countdown.target <= 99) << problem.question;
    four += countdown.numbers.size() == 4;
    large += std::ranges::any_of(countdown.numbers, [](int n) { return n > 50; });
    bool found = false;  // some signs of the numbers give the target
    for (unsigned signs = 0; signs < 1u << countdown.numbers.size(); ++signs) {
      int64_t sum = 0;
      for (size_t n = 0; n < countdown.numbers.size(); ++n)
        sum += signs >> n & 1 ? -countdown.numbers[n] : countdown.numbers[n];
      found = found || sum == countdown.target;
    }
    sums += found;
  }
  EXPECT_NEAR(four, kProblems / 3, 40);
  EXPECT_GT(large, kProblems / 2);
  EXPECT_GT(sums, kProblems / 2);
}

}  // namespace
}  // namespace r1::task_test
