#include "data/task.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace r1::task_test
