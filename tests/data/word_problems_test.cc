// Solves every story again by simulation: counting, stepping, trying all answers.
#include "data/word_problems.h"

#include <algorithm>

#include "data/rational.h"
#include "tests/data/task_test_util.h"

namespace r1::word_problems_test {
namespace {

int64_t times(int64_t count, int64_t each) {
  int64_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += each;
  return sum;
}

// Returns the answer as text, for the numbers in the order of the key.
using Solver = std::string (*)(const std::vector<int64_t>& n);

std::string text(int64_t value) {
  return std::to_string(value);
}

// num/den in lowest terms, by trying divisors downwards.
std::string fraction(int64_t num, int64_t den) {
  for (int64_t d = std::min(num, den); d > 1; --d) {
    if (num % d == 0 && den % d == 0) return fraction(num / d, den / d);
  }
  return den == 1 ? text(num) : text(num) + "/" + text(den);
}

const std::map<std::string, Solver>& solvers() {
  static const std::map<std::string, Solver> all{
      {"change", [](const auto& n) { return text(n[2] - times(n[0], n[1])); }},
      {"bags", [](const auto& n) { return text(times(n[0], n[1]) - n[2]); }},
      {"pages",
       [](const auto& n) {
         int64_t left = n[0];
         for (int64_t day = 0; day < n[2]; ++day) left -= n[1];
         return text(left);
       }},
      {"seats", [](const auto& n) { return text(times(n[0], n[1]) - n[2]); }},
      {"bus", [](const auto& n) { return text(n[0] - n[1] + n[2]); }},
      {"share",
       [](const auto& n) {
         int64_t rest = n[0] - n[1], each = 0;
         for (; rest >= n[2]; rest -= n[2]) ++each;
         EXPECT_EQ(rest, 0);
         return text(each);
       }},
      {"journey", [](const auto& n) { return text(n[0] - times(n[2], n[1]) - times(n[4], n[3])); }},
      {"recipe",
       [](const auto& n) {
         EXPECT_EQ(n[1] % n[0], 0);
         return text(times(n[2], n[1] / n[0]) - n[3]);
       }},
      {"wages", [](const auto& n) { return text(times(n[0], times(n[1], n[2])) + n[3] - n[4]); }},
      {"tank",
       [](const auto& n) {
         int64_t level = n[1], minutes = 0;
         for (; level < n[0]; ++minutes) level += n[2] - n[3];
         EXPECT_EQ(level, n[0]);
         return text(minutes);
       }},
      {"fence", [](const auto& n) { return text(times(n[0] + n[1] + n[0] + n[1] - n[2], n[3])); }},
      {"ages", [](const auto& n) { return text((n[0] + n[2]) + (times(n[1], n[0]) + n[2])); }},
      // In a * b hours the first paints b fences and the second a.
      {"together", [](const auto& n) { return fraction(n[0] * n[1], n[0] + n[1]); }},
      {"average_speed",
       [](const auto& n) { return fraction(times(n[1], n[0]) + times(n[3], n[2]), n[1] + n[3]); }},
      {"legs",
       [](const auto& n) {
         for (int64_t rabbits = 0; rabbits <= n[0]; ++rabbits) {
           if (4 * rabbits + 2 * (n[0] - rabbits) == n[1]) return text(rabbits);
         }
         return std::string("none");
       }},
      {"tickets",
       [](const auto& n) {
         std::string found = "none";
         for (int64_t adults = 0; adults <= n[2]; ++adults) {
           if (n[0] * adults + n[1] * (n[2] - adults) == n[3]) found = found == "none" ? text(adults) : "two";
         }
         return found;
       }},
      {"catch_up", [](const auto& n) { return fraction(n[0] * n[1], n[2] - n[0]); }},
      {"discount",
       [](const auto& n) {
         int64_t hundredths = 0;
         for (int64_t i = 0; i < n[0]; ++i) hundredths += 100 * n[1] - n[1] * n[2];
         return fraction(hundredths - 100 * n[3], 100);
       }},
  };
  return all;
}

TEST(WordProblems, GoldsAreWhatActingTheStoryOutGives) {
  std::map<std::string, int> stories;
  int fractions = 0;
  test::for_problems("word_problems", 600, [&](const Problem& problem, const Json& gold) {
    const std::vector<std::string> words = test::words_of(problem.key);
    std::vector<int64_t> numbers;
    for (size_t i = 2; i < words.size(); ++i) numbers.push_back(std::stoll(words[i]));
    ASSERT_TRUE(solvers().contains(words[1])) << words[1];
    ASSERT_EQ(gold.string(), solvers().at(words[1])(numbers));
    fractions += gold.string().find('/') != std::string::npos;
    // The text contains these numbers and no others.
    std::vector<int64_t> written = test::integers_of(problem.question);
    std::ranges::sort(written);
    std::ranges::sort(numbers);
    ASSERT_EQ(written, numbers);
    ASSERT_EQ(problem.question.find_first_of("$[]|"), std::string::npos);
    ASSERT_TRUE(problem.question.ends_with('?') || problem.question.ends_with('.'));
    ++stories[words[1]];
  });
  EXPECT_EQ(stories.size(), solvers().size());
  for (const auto& [name, count] : stories) EXPECT_GT(count, 100) << name;
  EXPECT_GT(fractions, 200);
}

TEST(WordProblems, EveryStoryHasFourWordingsAndALevel) {
  std::map<int, int> levels;
  for (const StoryTemplate& story : story_templates()) {
    ++levels[story.level];
    size_t wordings = 0;
    for (std::string_view form : story.forms) {
      size_t of_form = 1, choices = 1;
      for (const char c : form) {
        if (c == '|') ++choices;
        if (c != ']') continue;
        of_form *= choices;
        choices = 1;
      }
      wordings += of_form;
    }
    EXPECT_GE(wordings, 4u) << story.name;
  }
  EXPECT_EQ(levels, (std::map<int, int>{{1, 6}, {2, 6}, {3, 6}}));
}

}  // namespace
}  // namespace r1::word_problems_test
