// data/expression_tree.h: a small arithmetic tree over given numbers, and random trees in which every step is
// a whole number.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/random.h"

namespace r1 {

inline constexpr int kMaxCountdownNumbers = 8;

// A leaf has op 0. `value` is the leaf's number, or the result of an integer step. Trees of the exact solver
// may pass through fractions; they leave the inner values 0.
struct ExpressionNode {
  char op = 0;
  int left = -1;
  int right = -1;
  int64_t value = 0;
};

// Leaves come first, then the steps in the order in which they are taken; the root is last. The array is
// fixed because corpora draw hundreds of millions of trees.
struct ExpressionTree {
  std::array<ExpressionNode, 2 * kMaxCountdownNumbers - 1> nodes;
  int size = 0;
  int leaves = 0;

  const ExpressionNode& root() const { return nodes[static_cast<size_t>(size - 1)]; }
  int add_leaf(int64_t value);
  int add_step(char op, int left, int right, int64_t value);
};

// Constraints on a drawn step: its result is in 1 .. limit; - puts the larger term first; / leaves no
// remainder and does not divide by 1. So every step is a whole number that a person would write.
struct StepRules {
  int64_t limit = 99;
  std::array<int, 4> weights{3, 3, 2, 1};  // of + - * /
};

// Uses every number once. Each step joins two random terms by a random operator, drawn by weight and drawn
// again if it is not allowed. If `aim` is given, the last step is the allowed one whose result is nearest to
// it. Returns nothing if the draw reached a dead end. Takes 2 to kMaxCountdownNumbers numbers.
std::optional<ExpressionTree> draw_tree(Random& random, std::span<const int> numbers, const StepRules& rules,
                                        std::optional<int64_t> aim = std::nullopt);
// The same with given operators: operators[i] is that of step i.
std::optional<ExpressionTree> draw_tree_of(Random& random, std::span<const int> numbers,
                                           std::span<const char> operators, const StepRules& rules);
char draw_operator(Random& random, const StepRules& rules);

// Writes only the parentheses that the value depends on: (12+3)*4, 12-(5-3), but 12+5-3 and 12*6/3.
std::string to_text(const ExpressionTree& tree);

// The same text for all trees that differ only by the order or grouping of a sum's terms or a product's
// factors.
std::string canonical_text(const ExpressionTree& tree);

}  // namespace r1
