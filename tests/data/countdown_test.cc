#include "data/countdown.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/sanitizer.h"
#include "data/expression_tree.h"

namespace r1::countdown_test {
namespace {

// Under sanitizers, a tenth of the draws, so that the suite takes seconds.
constexpr int kScale = kAddressSanitizer ? 10 : 1;

// The oracle joins any two of the remaining values in every way, over unreduced fractions. First it finds the
// reachable targets.
struct Fraction {
  int64_t num, den;
};

bool brute_force(const std::vector<Fraction>& values, int64_t target) {
  if (values.size() == 1) return values[0].den != 0 && values[0].num == target * values[0].den;
  for (size_t i = 0; i < values.size(); ++i) {
    for (size_t j = 0; j < values.size(); ++j) {
      if (i == j) continue;
      const Fraction a = values[i], b = values[j];
      std::vector<Fraction> rest;
      for (size_t k = 0; k < values.size(); ++k) {
        if (k != i && k != j) rest.push_back(values[k]);
      }
      const std::vector<Fraction> joined{{a.num * b.den + b.num * a.den, a.den * b.den},
                                         {a.num * b.den - b.num * a.den, a.den * b.den},
                                         {a.num * b.num, a.den * b.den},
                                         {a.num * b.den, a.den * b.num}};
      for (const Fraction& value : joined) {
        if (value.den == 0) continue;
        rest.push_back(value);
        if (brute_force(rest, target)) return true;
        rest.pop_back();
      }
    }
  }
  return false;
}

std::string show(const std::vector<int>& numbers) {
  std::string out;
  for (const int n : numbers) out += std::to_string(n) + " ";
  return out;
}

TEST(CountdownSolver, AgreesWithBruteForce) {
  Random random(11);
  int solvable = 0;
  for (int i = 0; i < 4000 / kScale; ++i) {
    std::vector<int> numbers(static_cast<size_t>(random.between(2, 4)));
    for (int& n : numbers) n = static_cast<int>(random.between(0, random.below(2) == 0 ? 6 : 50));
    const int64_t target = random.between(-5, 60);
    std::vector<Fraction> values;
    for (const int n : numbers) values.push_back({n, 1});
    const bool want = brute_force(values, target);
    const auto got = solve(numbers, target);
    ASSERT_EQ(got.has_value(), want) << show(numbers) << "-> " << target;
    ASSERT_EQ(count_solutions(numbers, target) > 0, want) << show(numbers) << "-> " << target;
    solvable += want;
  }
  EXPECT_GT(solvable, 400 / kScale);
}

TEST(CountdownSolver, CountsSolutionsOnce) {
  const auto count = [](std::vector<int> numbers, int64_t target) {
    return count_solutions(numbers, target);
  };
  EXPECT_EQ(count({2, 3}, 6), 1);  // 2*3, not also 3*2
  EXPECT_EQ(count({7}, 7), 1);
  EXPECT_EQ(count({7}, 8), 0);
  EXPECT_EQ(count({1, 2, 3}, 6), 3);      // 1+2+3, 1*2*3, 2*3/1
  EXPECT_EQ(count({2, 2}, 4), 2);         // 2+2, 2*2
  EXPECT_EQ(count({2, 2}, 0), 1);         // 2-2, whichever comes first
  EXPECT_EQ(count({5, 5, 5, 1}, 24), 1);  // 5*(5-1/5)
  EXPECT_EQ(count({3, 3, 8, 8}, 24), 1);  // 8/(3-8/3)
  EXPECT_EQ(count({1, 1, 1, 1}, 24), 0);
}

TEST(CountdownSolver, RefusesWhatItCannotSearchExactly) {
  EXPECT_THROW(solve(std::vector<int>{}, 1), Error);
  EXPECT_THROW(solve(std::vector<int>{1, 2, 3, 4, 5, 6, 7}, 1), Error);
  EXPECT_THROW(solve(std::vector<int>{-1, 2}, 1), Error);
  EXPECT_THROW(solve(std::vector<int>{9999, 9999, 9999, 9999, 9999}, 1), Error);
  EXPECT_THROW(count_solutions(std::vector<int>{1, 2, 3, 4, 5, 6}, 1), Error);
  EXPECT_TRUE(solve(std::vector<int>{9999, 9999, 9999, 9999}, 4 * 9999).has_value());
  EXPECT_TRUE(
      solve(std::vector<int>{25, 50, 75, 100, 3, 6}, 952).has_value());  // the television show's classic
}

TEST(ExpressionTree, DrawnStepsKeepTheRules) {
  Random random(12);
  std::map<char, int> seen;
  int corners = 0;
  const StepRules rules;
  const int draws = 50'000 / kScale;
  for (int i = 0; i < draws; ++i) {
    std::vector<int> numbers(static_cast<size_t>(random.between(2, 5)));
    for (int& n : numbers) n = static_cast<int>(random.between(1, 50));
    const auto aim = random.below(2) == 0 ? std::optional<int64_t>(24) : std::nullopt;
    const auto tree = draw_tree(random, numbers, rules, aim);
    if (!tree) {
      ++corners;
      continue;
    }
    ASSERT_EQ(tree->leaves, static_cast<int>(numbers.size()));
    ASSERT_EQ(tree->size, 2 * tree->leaves - 1);
    for (int k = tree->leaves; k < tree->size; ++k) {
      const ExpressionNode& step = tree->nodes[static_cast<size_t>(k)];
      const int64_t a = tree->nodes[static_cast<size_t>(step.left)].value;
      const int64_t b = tree->nodes[static_cast<size_t>(step.right)].value;
      ++seen[step.op];
      ASSERT_TRUE(step.value >= 1 && step.value <= rules.limit) << a << step.op << b << "=" << step.value;
      const bool fits = step.op == '+'   ? step.value == a + b
                        : step.op == '-' ? step.value == a - b
                        : step.op == '*' ? step.value == a * b
                                         : b >= 2 && step.value * b == a;
      ASSERT_TRUE(fits) << a << step.op << b << "=" << step.value;
    }
  }
  for (const char op : {'+', '-', '*', '/'}) EXPECT_GT(seen[op], draws / 50) << op;
  EXPECT_LT(corners, draws / 4);
}

TEST(ExpressionTree, AimsAndKeepsToGivenOperators) {
  Random random(17);
  const std::vector<int> pair{6, 3};
  for (const auto& [aim, want] :
       std::map<int64_t, std::string>{{90, "*"}, {18, "*"}, {8, "+"}, {3, "-"}, {2, "/"}}) {
    for (int i = 0; i < 20; ++i) {
      const auto tree = draw_tree(random, pair, {}, aim);
      ASSERT_TRUE(tree.has_value());
      ASSERT_EQ(std::string(1, tree->root().op), want) << "aiming at " << aim;
    }
  }
  const std::vector<int> numbers{2, 4, 8};
  const std::vector<char> operators{'*', '-'};
  int drawn = 0;
  for (int i = 0; i < 100; ++i) {
    const auto tree = draw_tree_of(random, numbers, operators, {});
    if (!tree) continue;
    ++drawn;
    ASSERT_EQ(tree->nodes[3].op, '*');
    ASSERT_EQ(tree->nodes[4].op, '-');
  }
  EXPECT_GT(drawn, 50);
}

TEST(ExpressionTree, TextHasOnlyNeededParentheses) {
  const auto text = [](const std::vector<int>& numbers,
                       const std::vector<std::tuple<char, int, int>>& steps) {
    ExpressionTree tree;
    for (const int n : numbers) tree.add_leaf(n);
    for (const auto& [op, left, right] : steps) tree.add_step(op, left, right, 0);
    return to_text(tree);
  };
  EXPECT_EQ(text({12, 3, 4}, {{'+', 0, 1}, {'*', 3, 2}}), "(12+3)*4");
  EXPECT_EQ(text({12, 3, 4}, {{'*', 0, 1}, {'+', 3, 2}}), "12*3+4");
  EXPECT_EQ(text({12, 3, 4}, {{'-', 1, 2}, {'-', 0, 3}}), "12-(3-4)");
  EXPECT_EQ(text({12, 3, 4}, {{'-', 1, 2}, {'+', 0, 3}}), "12+3-4");
  EXPECT_EQ(text({12, 3, 4}, {{'/', 1, 2}, {'*', 0, 3}}), "12*3/4");
  EXPECT_EQ(text({12, 3, 4}, {{'*', 1, 2}, {'/', 0, 3}}), "12/(3*4)");
  EXPECT_EQ(text({12, 3, 4}, {{'/', 1, 2}, {'/', 0, 3}}), "12/(3/4)");
}

TEST(CountdownProblem, DistributionIsThatOfTheOptions) {
  Random random(13);
  const int draws = 50'000 / kScale;
  int four = 0, low = 0, high = 0, late = 0, signs_do = 0;
  std::map<int64_t, int> targets;
  std::set<std::vector<int>> distinct;
  for (int i = 0; i < draws; ++i) {
    const CountdownProblem problem = make_problem(random, {});
    four += problem.numbers.size() == 4;
    for (const int n : problem.numbers) {
      ASSERT_TRUE(n >= 1 && n <= 50) << n;
      low += n <= 5;
      high += n > 45;
    }
    ASSERT_TRUE(problem.target >= 10 && problem.target <= 99) << problem.target;
    ++targets[problem.target];
    late += problem.target >= 55;
    if (i < 500) {
      ASSERT_TRUE(solve(problem.numbers, problem.target)) << show(problem.numbers) << problem.target;
    }
    bool reached = false;  // by additions and subtractions only: a +- b +- c
    for (unsigned signs = 0; signs < 1u << problem.numbers.size(); ++signs) {
      int64_t sum = 0;
      for (size_t k = 0; k < problem.numbers.size(); ++k) {
        sum += (signs >> k & 1) != 0 ? -problem.numbers[k] : problem.numbers[k];
      }
      reached |= sum == problem.target;
    }
    signs_do += reached;
    std::vector<int> key = problem.numbers;
    std::sort(key.begin(), key.end());
    distinct.insert(key);
  }
  EXPECT_NEAR(static_cast<double>(four) / draws, 1.0 / 3, 0.02);
  EXPECT_GT(low, high);
  EXPECT_GT(high, draws / 10);
  EXPECT_EQ(targets.size(), 90u);
  EXPECT_GT(late, draws / 6);  // neither end of the range is rare
  EXPECT_LT(late, draws * 5 / 6);
  EXPECT_LT(signs_do, draws * 3 / 4);  // many need a product or a quotient
  EXPECT_GT(distinct.size(), static_cast<size_t>(draws) / 5);
  RecordProperty("distinct", static_cast<int>(distinct.size()));
  RecordProperty("signs_do", signs_do);
}

TEST(CountdownProblem, ImpossibleOptionsAreErrors) {
  Random random(14);
  EXPECT_THROW(make_problem(random, {.low = 5, .high = 4}), Error);
  EXPECT_THROW(make_problem(random, {.target_low = 5, .target_high = 4}), Error);
  EXPECT_THROW(make_problem(random, {.four_numbers = 1.5}), Error);
  EXPECT_THROW(make_problem(random, {.four_numbers = 1, .low = 1, .high = 13}),
               Error);  // all are hands of the Game of 24
}

TEST(CountdownSplit, HoldsOutOneMultisetInTwentyWhateverTheOrder) {
  int held_out = 0, all = 0;
  for (int a = 1; a <= 50; ++a) {
    for (int b = a; b <= 50; ++b) {
      for (int c = b; c <= 50; ++c) {
        const bool held = is_held_out(std::vector<int>{a, b, c});
        ASSERT_EQ(held, is_held_out(std::vector<int>{c, a, b})) << a << " " << b << " " << c;
        held_out += held;
        ++all;
      }
    }
  }
  EXPECT_EQ(all, 22100);
  EXPECT_NEAR(static_cast<double>(held_out) / all, 0.05, 0.006);  // four standard deviations
  EXPECT_TRUE(is_held_out(std::vector<int>{13, 1, 7, 13}));
  EXPECT_TRUE(is_game24_hand(std::vector<int>{13, 1, 7, 13}));
  EXPECT_FALSE(is_game24_hand(std::vector<int>{14, 1, 7, 13}));
  EXPECT_FALSE(is_game24_hand(std::vector<int>{1, 7, 13}));
  EXPECT_FALSE(in_split(std::vector<int>{13, 1, 7, 13}, Split::held_out));
  EXPECT_FALSE(in_split(std::vector<int>{13, 1, 7, 13}, Split::train));
}

// The first eight digits are those of `printf 'countdown 3 5 7' | sha256sum`. The split must never change, or
// old held-out sets would leak into new training runs.
TEST(CountdownSplit, IsPinned) {
  std::vector<std::string> held;
  for (int a = 1; a <= 3; ++a) {
    for (int b = a; b <= 12; ++b) {
      for (int c = b; c <= 12; ++c) {
        if (is_held_out(std::vector<int>{a, b, c})) held.push_back(show({a, b, c}));
      }
    }
  }
  EXPECT_EQ(held,
            (std::vector<std::string>{"1 4 10 ", "1 6 12 ", "2 2 11 ", "2 4 11 ", "2 11 11 ", "3 4 7 "}));
}

TEST(CountdownSplit, HeldOutNeverEntersAMillionTrainingDraws) {
  Random random(15);
  std::map<std::vector<int>, bool> held_out;  // caches the hashes, which would cost more than drawing
  for (int i = 0; i < 1'000'000 / kScale; ++i) {
    // Nine of ten draws have small numbers and any target, because such problems are drawn faster.
    const CountdownOptions options =
        i % 10 == 0 ? CountdownOptions{} : CountdownOptions{.high = 20, .target_low = 1};
    CountdownProblem problem = make_problem(random, options);
    std::sort(problem.numbers.begin(), problem.numbers.end());
    const auto [entry, fresh] = held_out.try_emplace(problem.numbers, false);
    if (fresh) entry->second = is_held_out(problem.numbers);
    ASSERT_FALSE(entry->second) << show(problem.numbers);
  }
  EXPECT_GT(held_out.size(), 10'000u);
}

TEST(CountdownSplit, HeldOutDrawsAreHeldOutAndNoGame24Hands) {
  Random random(16);
  for (int i = 0; i < 5000 / kScale; ++i) {
    const CountdownProblem problem = make_problem(random, {.split = Split::held_out});
    ASSERT_TRUE(is_held_out(problem.numbers)) << show(problem.numbers);
    ASSERT_FALSE(is_game24_hand(problem.numbers)) << show(problem.numbers);
  }
}

}  // namespace
}  // namespace r1::countdown_test
