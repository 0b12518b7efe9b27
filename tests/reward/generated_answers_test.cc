// The gold of every generated problem, written as an answer, is accepted. The gold of another problem is not.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "data/countdown.h"
#include "data/task.h"
#include "formats/json.h"
#include "reward/verifier.h"

namespace r1::generated_answers_test {
namespace {

std::string wrap(const std::string& answer) {
  return "<think>so</think>\n<answer>" + answer + "</answer>";
}

// Returns the answer as a person would write it.
std::string answer_of(const Problem& problem) {
  const Json gold = parse_json(problem.gold, "gold");
  const std::string_view verifier = verifier_name(problem.task);
  if (verifier == "number") return gold.string();
  if (verifier == "equation") return gold.get_string("unknown") + " = " + gold.get_string("value");
  if (verifier == "digits") return gold.get_string("digits");
  if (verifier == "countdown") {
    const CountdownProblem countdown = countdown_of(gold);
    return solve(countdown.numbers, countdown.target).value();
  }
  if (verifier == "calendar") {
    const Json& value = gold.members().at(0).second;
    return value.is_integer() ? std::to_string(value.integer()) : value.string();
  }
  std::string roles;
  for (const auto& [name, role] : gold.members())
    roles = name + " is a " + role.string() + (roles.empty() ? "" : ", ") + roles;
  return roles;
}

TEST(GeneratedAnswers, TheGoldIsAcceptedAndAnotherIsNot) {
  for (const std::string& name : task_names()) {
    int refused = 0, others = 0;
    std::string last;
    for (uint64_t i = 0; i < 150; ++i) {
      const Problem problem = make_problem(name, 61, i, Split::held_out);
      const std::string answer = answer_of(problem);
      const Verdict verdict = verify(problem, wrap(answer));
      ASSERT_TRUE(verdict.correct) << problem.question << " " << problem.gold << " " << answer << ": "
                                   << verdict.why;
      ASSERT_FALSE(verify(problem, answer).correct);
      ASSERT_FALSE(verify(problem, wrap(answer + " " + answer)).correct) << answer;
      ASSERT_FALSE(verify(problem, wrap("The answer is " + answer)).correct) << answer;
      ASSERT_FALSE(verify(problem, wrap(answer) + wrap(answer)).correct);
      if (!last.empty() && last != answer) {
        ++others;
        refused += !verify(problem, wrap(last)).correct;
      }
      last = answer;
    }
    EXPECT_EQ(refused, others) << name;
    EXPECT_GT(others, 100) << name;
  }
}

TEST(Verifier, TakesTasksWithLevelsAndGoldsAsJson) {
  EXPECT_TRUE(verify("arithmetic:2", Json("24"), wrap("24")).correct);
  EXPECT_TRUE(verify("expression", Json("24"), wrap("4*6")).correct);
  EXPECT_EQ(verify("arithmetic", Json("24"), wrap("4*6")).why, "bad_number:trailing_text");
  EXPECT_THROW(verify("arithmetic:9", Json("24"), wrap("24")), Error);
  EXPECT_THROW(verify("aritmetic", Json("24"), wrap("24")), Error);
}

}  // namespace
}  // namespace r1::generated_answers_test
