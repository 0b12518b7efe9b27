#include "data/countdown_question.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "base/random.h"

namespace r1::countdown_question_test {
namespace {

std::string show(const std::optional<CountdownProblem>& problem) {
  if (!problem) return "nothing";
  std::string out;
  for (const int n : problem->numbers) out += std::to_string(n) + " ";
  return out + "-> " + std::to_string(problem->target);
}

TEST(CountdownQuestion, EveryPhrasingReadsBack) {
  Random random(21);
  for (int i = 0; i < 5000; ++i) {
    CountdownProblem problem{.numbers = {}, .target = random.between(-20, 2000)};
    const int64_t count = random.between(2, 6);
    for (int64_t k = 0; k < count; ++k) problem.numbers.push_back(static_cast<int>(random.between(0, 120)));
    for (int phrasing = 0; phrasing < kPhrasings; ++phrasing) {
      const std::string question = ask(problem, phrasing);
      const auto got = parse_question(question);
      ASSERT_TRUE(got == problem) << "phrasing " << phrasing << ": " << question << ": read " << show(got);
    }
  }
}

TEST(CountdownQuestion, PhrasingsDiffer) {
  std::set<std::string> all;
  for (int phrasing = 0; phrasing < kPhrasings; ++phrasing) {
    all.insert(ask({.numbers = {3, 5, 7}, .target = 24}, phrasing));
  }
  EXPECT_EQ(all.size(), static_cast<size_t>(kPhrasings));
  EXPECT_TRUE(all.contains("Make 24 from 3, 5 and 7."));
  EXPECT_TRUE(all.contains("numbers: 3 5 7, target: 24"));
}

TEST(CountdownQuestion, ReadsOtherWordings) {
  const CountdownProblem want{.numbers = {3, 5, 7}, .target = 24};
  for (const char* question : {
           "hey, can you get to 24 using 3, 5, and 7?",
           "Use all 3 numbers 3, 5, 7 to make 24",
           "Using the numbers [3, 5, 7], create an equation that equals 24. You can use + - * / and each "
           "number "
           "only once.",
           "Let's play countdown! The target number is 24. My numbers are 3 5 7",
           "3 5 7 = 24",
           "24 = 3 5 7",
           "3,5,7 → 24",
           "3/5/7 to 24",
           "24: 3 5 7",
           "make 24, 3 5 7",
           "target: 24, 3, 5, 7",
           "R1, make 24 from 3 & 5 & 7!!",
           "from 3 5 7\nmake exactly 24",
           "I need a total of 24 and I've got 3, 5, 7.",
           "What combination of 3, 5 and 7 is equal to 24?",
           "MAKE 24 WITH 3 5 7",
       }) {
    const auto got = parse_question(question);
    EXPECT_TRUE(got == want) << question << ": read " << show(got);
  }
}

TEST(CountdownQuestion, ReadsNothingWhereThereIsNoProblem) {
  for (const std::string& question : {
           std::string(""),
           std::string("Hello, who are you?"),
           std::string("What is 17 times 23?"),
           std::string("make 24"),
           std::string("3 5 7"),
           std::string("3 5 7 24"),
           std::string("make 24 from 3"),
           std::string("Make 24 from 1.5, 5 and 7."),
           std::string("Make 2.4 from 3, 5 and 7."),
           std::string("Make 24 from 3, 5 and -7."),
           std::string("Make 24 from 03, 5 and 7."),
           std::string("Make 24 from 3, 5 and 70000."),
           std::string("Make 24 or get 25 from 3, 5 and 7."),
           std::string("Make 24 from 3, 5 or from 7, 9."),
           std::string("In 1999, 2000 and 2001 I had 3 cats"),
           std::string("Make 99999999999999999999 from 3, 5 and 7."),
           std::string("Make 24 from 1 2 3 4 5 6 7 8 9"),
           "Make 24 from 3, 5 and 7." + std::string(2000, ' '),
       }) {
    EXPECT_EQ(show(parse_question(question)), "nothing") << question.substr(0, 80);
  }
}

}  // namespace
}  // namespace r1::countdown_question_test
