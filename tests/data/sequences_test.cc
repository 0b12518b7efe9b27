// Evaluates each rule in closed form. A sequence's next term is the one on which all valid rules agree.
#include <algorithm>

#include "data/sequence_rules.h"
#include "tests/data/task_test_util.h"

namespace r1::sequences_test {
namespace {

using Terms = std::vector<int64_t>;

// Returns the terms with which a rule continues, as doubles (they are far below 2^53). Returns nothing if the
// rule does not hold.
std::vector<double> by_formula(const std::string& rule, const Terms& t) {
  const size_t n = t.size();
  if (rule == "arithmetic") {
    const int64_t d = t[1] - t[0];
    for (size_t i = 0; i < n; ++i) {
      if (t[i] != t[0] + static_cast<int64_t>(i) * d) return {};
    }
    return {static_cast<double>(t[0] + static_cast<int64_t>(n) * d)};
  }
  if (rule == "geometric") {
    for (size_t i = 0; i < n; ++i) {
      if (t[i] == 0 ||
          (i > 0 && static_cast<__int128>(t[i]) * t[0] != static_cast<__int128>(t[i - 1]) * t[1]))
        return {};
    }
    return {static_cast<double>(t[n - 1]) * static_cast<double>(t[1]) / static_cast<double>(t[0])};
  }
  if (rule == "quadratic") {
    const int64_t d = t[1] - t[0], c = t[2] - 2 * t[1] + t[0];  // Newton's form
    const auto at = [&](int64_t i) { return t[0] + i * d + i * (i - 1) / 2 * c; };
    for (size_t i = 0; i < n; ++i) {
      if (t[i] != at(static_cast<int64_t>(i))) return {};
    }
    return {static_cast<double>(at(static_cast<int64_t>(n)))};
  }
  if (rule == "fibonacci") {
    for (size_t i = 2; i < n; ++i) {
      if (t[i] - t[i - 1] - t[i - 2] != 0) return {};
    }
    return {static_cast<double>(t[n - 1] + t[n - 2])};
  }
  Terms parts[2];
  for (size_t i = 0; i < n; ++i) parts[i % 2].push_back(t[i]);
  const Terms &next = parts[n % 2], &other = parts[1 - n % 2];
  if (by_formula("arithmetic", other).empty() && by_formula("geometric", other).empty()) return {};
  std::vector<double> all = by_formula("arithmetic", next);
  for (const double value : by_formula("geometric", next)) all.push_back(value);
  return all;
}

TEST(Sequences, EveryRuleThatHoldsGivesTheGold) {
  std::map<std::string, int> rules;
  test::for_problems("sequences", 400, [&](const Problem& problem, const Json& gold) {
    Terms terms;
    for (std::string word : test::words_of(problem.question)) {
      const bool number = word.size() > 1 || std::isdigit(static_cast<unsigned char>(word[0])) != 0;
      if (number && (std::isdigit(static_cast<unsigned char>(word[0])) != 0 || word[0] == '-')) {
        terms.push_back(std::stoll(word));
      }
    }
    ASSERT_TRUE(terms.size() >= 6 && terms.size() <= 8) << terms.size();
    std::set<double> next;
    for (const char* rule : {"arithmetic", "geometric", "quadratic", "fibonacci", "interleaved"}) {
      const std::vector<double> values = by_formula(rule, terms);
      rules[rule] += !values.empty();
      next.insert(values.begin(), values.end());
    }
    ASSERT_EQ(next, std::set<double>{static_cast<double>(std::stoll(gold.string()))});
  });
  for (const auto& [rule, count] : rules) EXPECT_GT(count, 100) << rule;
}

TEST(SequenceRules, ContinueTheTermsThatTheyHoldFor) {
  const auto next = [](SequenceRule rule, const Terms& terms) {
    std::vector<std::string> out;
    for (const Rational& value : next_terms(rule, terms)) out.push_back(to_text(value));
    return out;
  };
  using Texts = std::vector<std::string>;
  EXPECT_EQ(next(SequenceRule::arithmetic, {9, 6, 3, 0}), Texts{"-3"});
  EXPECT_EQ(next(SequenceRule::arithmetic, {9, 6, 3, 1}), Texts{});
  EXPECT_EQ(next(SequenceRule::geometric, {54, 18, 6, 2}), Texts{"2/3"});
  EXPECT_EQ(next(SequenceRule::geometric, {1, -2, 4, -8}), Texts{"16"});
  EXPECT_EQ(next(SequenceRule::geometric, {0, 0, 0, 0}), Texts{});
  EXPECT_EQ(next(SequenceRule::quadratic, {1, 4, 9, 16}), Texts{"25"});
  EXPECT_EQ(next(SequenceRule::quadratic, {1, 4, 9, 17}), Texts{});
  EXPECT_EQ(next(SequenceRule::fibonacci, {3, 1, 4, 5}), Texts{"9"});
  EXPECT_EQ(next(SequenceRule::fibonacci, {3, 1, 4, 6}), Texts{});
  EXPECT_EQ(next(SequenceRule::interleaved, {1, 10, 2, 20, 3, 40}), Texts{"4"});
  EXPECT_EQ(next(SequenceRule::interleaved, {1, 10, 2, 20, 3, 41}), Texts{});
  // Two terms are arithmetic and geometric at once.
  EXPECT_EQ(next(SequenceRule::interleaved, {1, 10, 2, 20}), (Texts{"3", "4"}));
  const int64_t big = INT64_MAX;
  EXPECT_EQ(next(SequenceRule::arithmetic, {-big, 0, big, 0}), Texts{});
  EXPECT_EQ(next(SequenceRule::fibonacci, {big, big, big, big}), Texts{});
}

TEST(SequenceRules, RefuseWhatTwoRulesContinueDifferently) {
  const auto decided = [](const Terms& terms) {
    const auto value = decided_next_term(terms);
    return value ? to_text(*value) : "open";
  };
  EXPECT_EQ(decided({2, 4, 6, 8, 10, 12}), "14");
  EXPECT_EQ(decided({1, 2, 4, 8, 16, 32}), "64");
  EXPECT_EQ(decided({1, 1, 2, 3, 5, 8}), "13");
  EXPECT_EQ(decided({3, 3, 3, 3, 3, 3}), "3");
  EXPECT_EQ(decided({1, 2, 4, 8}), "open");        // 16, or 1, 4, 7 between 2, 8
  EXPECT_EQ(decided({2, 4, 6, 8, 10}), "open");    // 12, or 4, 8, 16 between 2, 6, 10
  EXPECT_EQ(decided({1, 5, 2, 7, 3, 1}), "open");  // no rule
}

}  // namespace
}  // namespace r1::sequences_test
