// The verifier accepts what the solver finds: all 1,362 Game of 24 puzzles, and generated problems with their
// traces.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "data/countdown_trace.h"
#include "data/task.h"
#include "reward/problem_file.h"
#include "reward/verifier.h"
#include "text/think.h"

namespace r1::game24_test {
namespace {

TEST(Game24, SolvedAnswersAreAccepted) {
  const char* given = std::getenv("R1_TEST_DATA");
  const std::filesystem::path path =
      std::filesystem::path(given != nullptr ? given : R1_SOURCE_DIR "/../shared/data") / "tasks" /
      "game24.csv";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "NOT TESTED: no " << path << " (set R1_TEST_DATA)";
  int accepted = 0;
  for (const ProblemFile file = read_problems(path); const Problem& problem : file.problems) {
    const CountdownProblem puzzle = countdown_of(problem);
    const auto answer = solve(puzzle.numbers, puzzle.target);
    ASSERT_TRUE(answer.has_value()) << problem.question;
    const Verdict verdict = verify(problem, "<think>\n</think>\n<answer>" + *answer + "</answer>");
    ASSERT_TRUE(verdict.correct) << problem.question << ": " << *answer << ": " << verdict.why;
    ++accepted;
  }
  EXPECT_EQ(accepted, 1362);
}

TEST(Countdown, TracesAreWellFormedAndVerdictsAgreeWithThem) {
  for (uint64_t i = 0; i < 20'000; ++i) {
    const Problem problem = make_problem("countdown", 51, i, Split::train);
    Random random(51, i, 1);
    const CountdownTrace trace = make_trace(random, countdown_of(problem), {});
    const std::string document = to_document(trace);
    const Verdict verdict = verify(problem, document);
    ASSERT_TRUE(verdict.well_formed) << document << ": " << verdict.why;
    ASSERT_EQ(verdict.why, trace.correct ? "ok" : "wrong_value") << document;
    ASSERT_EQ(split_think(document).thought, trace.thought);
  }
}

}  // namespace
}  // namespace r1::game24_test
