#include "reward/expression.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "base/random.h"

namespace r1::expression_test {
namespace {

struct Accepted {
  std::string text;
  int64_t num, den;
  std::vector<int64_t> numbers;
};

TEST(Expression, EvaluatesExactly) {
  const std::vector<Accepted> cases{
      {"7", 7, 1, {7}},
      {"0", 0, 1, {0}},
      {"12+3*4", 24, 1, {12, 3, 4}},
      {"(12+3)*4", 60, 1, {12, 3, 4}},
      {" ( 12 + 3 )\t*\n4 ", 60, 1, {12, 3, 4}},
      {"8/3-3", -1, 3, {8, 3, 3}},
      {"8/(3-8/3)", 24, 1, {8, 3, 8, 3}},
      {"5*(5-1/5)", 24, 1, {5, 5, 1, 5}},
      {"10-4-3", 3, 1, {10, 4, 3}},
      {"64/4/2", 8, 1, {64, 4, 2}},
      {"6/4", 3, 2, {6, 4}},
      {"0/5", 0, 1, {0, 5}},
      {"3-5", -2, 1, {3, 5}},
      {"3×5·2⋅7÷6−1", 34, 1, {3, 5, 2, 7, 6, 1}},
      {"((((9))))", 9, 1, {9}},
      {"-3+5", 2, 1, {3, 5}},
      {"+3", 3, 1, {3}},
      {"−3", -3, 1, {3}},
      {"3*-5", -15, 1, {3, 5}},
      {"3-(-5)", 8, 1, {3, 5}},
      {"-(3-5)*2", 4, 1, {3, 5, 2}},
      {"- 3 * 4", -12, 1, {3, 4}},
      {"007", 7, 1, {7}},
      {"3+04", 7, 1, {3, 4}},
      {"1,000+1", 1001, 1, {1000, 1}},
      {"1{,}000*2", 2000, 1, {1000, 2}},
      {"3 \\times 7 + 5", 26, 1, {3, 7, 5}},
      {"3\\cdot7\\ast2\\div6", 7, 1, {3, 7, 2, 6}},
      {"\\left( 3 + 4 \\right) \\times 2", 14, 1, {3, 4, 2}},
      {"3\\,+\\;4\\quad -\\ 1\\!", 6, 1, {3, 4, 1}},
      {"\\frac{8}{3-\\frac{8}{3}}", 24, 1, {8, 3, 8, 3}},
      {"-\\dfrac{1}{2}*\\tfrac{6}{3}", -1, 1, {1, 2, 6, 3}},
      {"\\frac12 + \\frac 1 2", 1, 1, {1, 2, 1, 2}},
      {"9223372036854775807", 9223372036854775807, 1, {9223372036854775807}},
      {"9223372036854775807*3/3-9223372036854775807", 0, 0, {}},  // the product exceeds 63 bits: refused
  };
  for (const Accepted& c : cases) {
    const Evaluated got = evaluate_expression(c.text);
    if (c.den == 0) {
      EXPECT_EQ(got.why, "overflow") << c.text;
      continue;
    }
    ASSERT_TRUE(got.ok()) << c.text << ": " << got.why << " at " << got.where;
    EXPECT_EQ(got.value, (Rational{c.num, c.den}))
        << c.text << " = " << got.value.num << "/" << got.value.den;
    EXPECT_EQ(got.numbers, c.numbers) << c.text;
  }
}

TEST(Expression, RefusesWithAReason) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "empty"},
      {" \n\t", "empty"},
      {"2**3", "power"},
      {"2^3", "power"},
      {"7//2", "floor_division"},
      {"7 // 2", "floor_division"},
      {"7 / / 2", "missing_operand"},
      {"3 5", "missing_operator"},
      {"3(4)", "missing_operator"},
      {"(3)(4)", "missing_operator"},
      {"(3)4", "missing_operator"},
      {"3--5", "unary_sign"},
      {"3+-5", "unary_sign"},
      {"--3", "unary_sign"},
      {"3*--5", "unary_sign"},
      {"-", "missing_operand"},
      {"(-)", "missing_operand"},
      {"1.5+2", "decimal"},
      {"1.+2", "decimal"},
      {".5", "decimal"},
      {"3 .5", "decimal"},
      {"12+3=15", "equals_sign"},
      {"= 15", "missing_operand"},
      {"3+", "missing_operand"},
      {"3+*4", "missing_operand"},
      {"()", "missing_operand"},
      {"*3", "missing_operand"},
      {"(3+4", "unbalanced"},
      {"3+4)", "unbalanced"},
      {"((3)", "unbalanced"},
      {")", "missing_operand"},
      {"3+4 is right", "trailing_text"},
      {"3+4é", "trailing_text"},
      {"3x4", "trailing_text"},
      {"x", "unknown_character"},
      {"3+x", "unknown_character"},
      {"3%4", "unknown_character"},
      {"1,00", "unknown_character"},
      {"1,0000", "unknown_character"},
      {"0,100", "unknown_character"},
      {"1000,000", "unknown_character"},
      {"(1,2)", "unknown_character"},
      {"\\frac{1}", "bad_fraction"},
      {"\\frac", "bad_fraction"},
      {"\\frac(1)(2)", "bad_fraction"},
      {"\\frac{1}{2", "unbalanced"},
      {"\\frac{1}{0}", "division_by_zero"},
      {"\\frac{}{2}", "unknown_character"},
      {"2\\frac12", "missing_operator"},
      {"3\\timesx", "unknown_character"},
      {"3\\leftx", "unknown_character"},
      {"\\sqrt{4}", "unknown_character"},
      {"3+4}", "unbalanced"},
      {"f", "unknown_character"},
      {"3+f", "unknown_character"},
      {"(3 y)", "unknown_character"},
      {"$24", "unknown_character"},
      {"3+4;", "unknown_character"},
      {std::string("3\0+4", 4), "unknown_character"},
      {"3+\xff", "unknown_character"},
      {"٣+4", "unknown_character"},
      {"1e3", "trailing_text"},
      {"0x10", "trailing_text"},
      {"5/0", "division_by_zero"},
      {"5/(3-3)", "division_by_zero"},
      {"0/0", "division_by_zero"},
      {"9223372036854775808", "number_too_large"},
      {"99999999999999999999999999999999", "number_too_large"},
      {"9223372036854775807+1", "overflow"},
      {"4294967296*4294967296", "overflow"},
      {"1/4294967296/4294967296", "overflow"},
      {std::string(65, '(') + "1" + std::string(65, ')'), "too_deep"},
      {std::string(1025, ' '), "too_long"},
  };
  for (const auto& [text, why] : cases) {
    const Evaluated got = evaluate_expression(text);
    EXPECT_EQ(got.why, why) << '"' << text << '"';
    EXPECT_LE(got.where, text.size()) << text;
  }
  EXPECT_TRUE(evaluate_expression(std::string(64, '(') + "1" + std::string(64, ')')).ok());
}

TEST(Expression, ReadsDecimalsWhereTheyAreWanted) {
  const auto value = [](const char* text) {
    return to_text(evaluate_expression(text, Decimals::read).value);
  };
  EXPECT_EQ(value("1.5+2"), "7/2");
  EXPECT_EQ(value(".5*4"), "2");
  EXPECT_EQ(value("5.-0.50"), "9/2");
  EXPECT_EQ(evaluate_expression(".", Decimals::read).why, "missing_operand");
  EXPECT_EQ(evaluate_expression("1.2.3", Decimals::read).why, "decimal");
  EXPECT_EQ(evaluate_expression("0.0000000000000000000001", Decimals::read).why, "number_too_large");
}

// ---- an independent evaluator: a random tree knows its own value by repeated addition of unreduced
// fractions ----

struct Node {
  char op = 0;
  int64_t leaf = 0;
  int left = 0, right = 0;
};

struct Fraction {
  __int128 num, den;
  bool valid;
};

Fraction slow_value(const std::vector<Node>& nodes, int at) {
  const Node& node = nodes[static_cast<size_t>(at)];
  if (node.op == 0) return {node.leaf, 1, true};
  const Fraction a = slow_value(nodes, node.left), b = slow_value(nodes, node.right);
  if (!a.valid || !b.valid) return {0, 1, false};
  if (node.op == '+') return {a.num * b.den + b.num * a.den, a.den * b.den, true};
  if (node.op == '-') return {a.num * b.den - b.num * a.den, a.den * b.den, true};
  if (node.op == '*') return {a.num * b.num, a.den * b.den, true};
  return {a.num * b.den, a.den * b.num, b.num != 0};
}

// Writes every inner node in parentheses, or leaves them out if `random` says so and the grammar allows it.
std::string write(Random& random, const std::vector<Node>& nodes, int at, int context) {
  const Node& node = nodes[static_cast<size_t>(at)];
  if (node.op == 0) return std::to_string(node.leaf);
  const bool product = node.op == '*' || node.op == '/';
  const int mine = product ? 2 : 1;
  std::string out = write(random, nodes, node.left, mine);
  if (random.below(3) == 0) out += ' ';
  out += product && node.op == '*' && random.below(9) == 0 ? "×" : std::string(1, node.op);
  if (random.below(3) == 0) out += ' ';
  out += write(random, nodes, node.right, mine + 1);
  return mine < context || random.below(4) == 0 ? "(" + out + ")" : out;
}

TEST(Expression, MatchesASlowEvaluatorOn100000RandomExpressions) {
  Random random(1);
  std::map<std::string, int> outcomes;
  for (int i = 0; i < 100'000; ++i) {
    std::vector<Node> nodes;
    std::vector<int> open;
    const int64_t leaves =
        random.between(1, 6);  // unreduced: at most 99^6 * 2^5 < 2^63, and products of two fit in 127 bits
    for (int64_t k = 0; k < leaves; ++k) {
      open.push_back(static_cast<int>(nodes.size()));
      nodes.push_back({.leaf = random.between(0, random.below(2) == 0 ? 4 : 99)});
    }
    std::vector<int64_t> order;  // the leaves in order, because only neighbours are joined
    for (const Node& node : nodes) order.push_back(node.leaf);
    while (open.size() > 1) {
      const auto k = static_cast<size_t>(random.below(static_cast<int64_t>(open.size()) - 1));
      nodes.push_back({.op = "+-*/"[random.below(4)], .left = open[k], .right = open[k + 1]});
      open[k] = static_cast<int>(nodes.size()) - 1;
      open.erase(open.begin() + static_cast<int64_t>(k) + 1);
    }
    const Fraction want = slow_value(nodes, open[0]);
    const std::string text = write(random, nodes, open[0], 0);
    const Evaluated got = evaluate_expression(text);
    ++outcomes[std::string(got.why)];
    if (!want.valid) {
      ASSERT_EQ(got.why, "division_by_zero") << text;
      continue;
    }
    ASSERT_TRUE(got.ok()) << text << ": " << got.why;
    ASSERT_TRUE(want.num * got.value.den == want.den * got.value.num)
        << text << " gave " << got.value.num << "/" << got.value.den;
    ASSERT_GE(got.value.den, 1) << text;
    ASSERT_EQ(got.numbers, order) << text;
  }
  EXPECT_GT(outcomes[""], 80'000);
  EXPECT_GT(outcomes["division_by_zero"], 100);
}

TEST(Expression, IsTotalOnRandomBytes) {
  Random random(2);
  const std::string alphabet = "0123456789+-*/() .^=x\xc3\x97\xe2\x88\x92";
  for (int i = 0; i < 100'000; ++i) {
    std::string text(static_cast<size_t>(random.below(24)), ' ');
    for (char& c : text) {
      c = random.below(8) == 0
              ? static_cast<char>(random.below(256))
              : alphabet[static_cast<size_t>(random.below(static_cast<int64_t>(alphabet.size())))];
    }
    const Evaluated got = evaluate_expression(text);
    ASSERT_LE(got.where, text.size());
    ASSERT_EQ(got.ok(), got.why.empty());
    if (got.ok()) {
      ASSERT_FALSE(got.numbers.empty()) << text;
    }
  }
}

}  // namespace
}  // namespace r1::expression_test
