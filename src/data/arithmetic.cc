// data/arithmetic.cc: expressions of whole numbers with + - * / and parentheses; every division is exact, so
// every step is a whole number.
#include <array>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "data/countdown.h"
#include "data/expression_tree.h"
#include "data/phrasing.h"
#include "data/task_makers.h"
#include "formats/json.h"

namespace r1 {
namespace {

struct Level {
  int64_t fewest, most;  // numbers
  int64_t high;          // the largest number; the smallest is 2
  int64_t limit;         // of the size of a step's result
  bool negative;         // results below zero, on the way or at the end
};
constexpr std::array<Level, 3> kLevels{
    {{2, 3, 20, 99, false}, {3, 4, 50, 999, true}, {5, 6, 99, 9999, true}}};

// Nothing if the step is trivial (times or over 1, a sum of 0) or leaves the level.
std::optional<int64_t> result_of(char op, int64_t a, int64_t b, const Level& level) {
  int64_t value = 0;
  if (op == '+') value = a + b;
  if (op == '-') value = a - b;
  if (op == '*' && std::abs(a) > 1 && std::abs(b) > 1) value = a * b;
  if (op == '/' && std::abs(b) > 1 && a % b == 0) value = a / b;
  if (value == 0 || std::abs(value) > level.limit || (value < 0 && !level.negative)) return std::nullopt;
  return value;
}

struct Step {
  size_t left, right;  // places among the open terms
  int64_t value;
};

// Every ordered pair of open terms that the operator may join.
std::vector<Step> allowed_steps(const ExpressionTree& tree, const std::vector<int>& open, char op,
                                const Level& level) {
  std::vector<Step> steps;
  for (size_t i = 0; i < open.size(); ++i) {
    for (size_t j = 0; j < open.size(); ++j) {
      if (i == j) continue;
      const auto value_at = [&](size_t k) { return tree.nodes[static_cast<size_t>(open[k])].value; };
      if (const auto value = result_of(op, value_at(i), value_at(j), level)) steps.push_back({i, j, *value});
    }
  }
  return steps;
}

// Nothing if the draw reached a dead end.
std::optional<ExpressionTree> draw_expression(Random& random, const std::vector<int>& numbers,
                                              const Level& level) {
  const StepRules operators{.weights = {3, 3, 3, 3}};  // * and / are often not allowed, which evens it out
  ExpressionTree tree;
  std::vector<int> open;
  for (const int number : numbers) open.push_back(tree.add_leaf(number));
  for (int tries = 0; open.size() > 1; ++tries) {
    if (tries == 40) return std::nullopt;
    const char op = draw_operator(random, operators);
    const std::vector<Step> steps = allowed_steps(tree, open, op, level);
    if (steps.empty()) continue;
    const Step& step = pick(random, steps);
    open[step.left] = tree.add_step(op, open[step.left], open[step.right], step.value);
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(step.right));
  }
  return tree;
}

struct Drawn {
  ExpressionTree tree;
  std::string key;
};

// Training also avoids countdown's held-out numbers: an expression over them reveals one of their values.
Drawn draw(Random& random, const Level& level, Split split) {
  for (;;) {
    std::vector<int> numbers(static_cast<size_t>(random.between(level.fewest, level.most)));
    for (int& number : numbers) number = static_cast<int>(random.between(2, level.high));
    if (split == Split::train && is_held_out(numbers)) continue;
    if (const auto tree = draw_expression(random, numbers, level)) {
      return {*tree, "arithmetic " + canonical_text(*tree)};
    }
  }
}

// In the notations of keyboards and books: 3*4-5, 3 * 4 - 5, 3 × 4 - 5.
std::string write(Random& random, const ExpressionTree& tree) {
  const int64_t style = random.below(6);
  const bool spaced = style >= 2, signs = style == 5;
  std::string out;
  for (const char c : to_text(tree)) {
    const bool is_operator = c == '+' || c == '-' || c == '*' || c == '/';
    if (is_operator && spaced) out += ' ';
    if (signs && c == '*') {
      out += "×";
    } else if (signs && c == '/') {
      out += "÷";
    } else {
      out += c;
    }
    if (is_operator && spaced) out += ' ';
  }
  return out;
}

constexpr auto kForms = std::to_array<std::string_view>({
    "What is $e?",
    "[Compute|Calculate|Evaluate|Work out] $e[.|]",
    "[compute|calculate|evaluate|work out] $e",
    "$e = ?",
    "$e",
    "$e =",
    "How much is $e?",
    "[Find|Give|Tell me] the [value|result] of $e.",
    "What [number does $e give|does $e equal|do you get for $e]?",
    "[Please|Can you] [compute|calculate] $e[ for me|]",
    "what's $e",
    "Simplify $e to [one|a single] number.",
});

}  // namespace

Problem make_arithmetic(Random& random, int level, Split split) {
  const Drawn drawn =
      draw_in_split(split, [&] { return draw(random, kLevels[static_cast<size_t>(level - 1)], split); });
  return {.task = "arithmetic",
          .question = phrase(random, kForms, {{'e', write(random, drawn.tree)}}),
          .gold = Json(std::to_string(drawn.tree.root().value)).dump(),
          .key = drawn.key};
}

}  // namespace r1
