#include "data/expression_tree.h"

#include <algorithm>
#include <cstdlib>
#include <utility>
#include <vector>

#include "base/error.h"

namespace r1 {
namespace {

int precedence(char op) {
  return op == 0 ? 3 : (op == '*' || op == '/') ? 2 : 1;
}

const ExpressionNode& node_at(const ExpressionTree& tree, int index) {
  return tree.nodes[static_cast<size_t>(index)];
}

void append_text(const ExpressionTree& tree, int index, std::string& out) {
  const ExpressionNode& node = node_at(tree, index);
  if (node.op == 0) {
    out += std::to_string(node.value);
    return;
  }
  const auto append_child = [&](int child, bool parenthesise) {
    if (parenthesise) out += '(';
    append_text(tree, child, out);
    if (parenthesise) out += ')';
  };
  const int mine = precedence(node.op);
  append_child(node.left, precedence(node_at(tree, node.left).op) < mine);
  out += node.op;
  const int right = precedence(node_at(tree, node.right).op);
  append_child(node.right, right < mine || (right == mine && (node.op == '-' || node.op == '/')));
}

// Gathers the terms of a sum (or the factors of a product) that the subtree `index` spreads over several
// nodes. A term under an odd number of right-hand sides of - (or /) is inverted.
void gather(const ExpressionTree& tree, int index, int level, bool inverted, std::vector<std::string>& terms);

std::string canonical(const ExpressionTree& tree, int index) {
  const ExpressionNode& node = node_at(tree, index);
  if (node.op == 0) return std::to_string(node.value);
  std::vector<std::string> terms;
  gather(tree, index, precedence(node.op), false, terms);
  std::sort(terms.begin(), terms.end());
  std::string out = "(";
  for (const std::string& term : terms) out += term;
  return out + ")";
}

void gather(const ExpressionTree& tree, int index, int level, bool inverted,
            std::vector<std::string>& terms) {
  const ExpressionNode& node = node_at(tree, index);
  if (precedence(node.op) != level) {
    const char* sign = level == 1 ? (inverted ? "-" : "+") : (inverted ? "/" : "*");
    terms.push_back(sign + canonical(tree, index));
    return;
  }
  gather(tree, node.left, level, inverted, terms);
  gather(tree, node.right, level, inverted != (node.op == '-' || node.op == '/'), terms);
}

}  // namespace

int ExpressionTree::add_leaf(int64_t value) {
  R1_CHECK(size == leaves && leaves < kMaxCountdownNumbers, "leaf ", leaves, " of a tree of ", size);
  nodes[static_cast<size_t>(size)] = {.op = 0, .left = -1, .right = -1, .value = value};
  ++leaves;
  return size++;
}

int ExpressionTree::add_step(char op, int left, int right, int64_t value) {
  R1_CHECK(size < 2 * leaves - 1 && left < size && right < size, "step ", size, " over ", leaves, " numbers");
  nodes[static_cast<size_t>(size)] = {.op = op, .left = left, .right = right, .value = value};
  return size++;
}

namespace {

// The terms that are not yet joined: indices into the tree.
struct Open {
  std::array<int, kMaxCountdownNumbers> terms{};
  int count = 0;
};

Open plant_leaves(ExpressionTree& tree, std::span<const int> numbers) {
  R1_CHECK(numbers.size() >= 2 && numbers.size() <= kMaxCountdownNumbers, numbers.size(), " numbers");
  Open open;
  for (const int number : numbers) open.terms[static_cast<size_t>(open.count++)] = tree.add_leaf(number);
  return open;
}

struct Step {
  char op = 0;
  int left = 0, right = 0;
  int64_t value = 0;
};

std::optional<Step> allowed_step(const ExpressionTree& tree, char op, int a, int b, const StepRules& rules) {
  int64_t x = node_at(tree, a).value, y = node_at(tree, b).value;
  if ((op == '-' || op == '/') && x < y) {
    std::swap(a, b);
    std::swap(x, y);
  }
  if (op == '/' && (y < 2 || x % y != 0)) return std::nullopt;
  if (op == '*' && x != 0 && y > rules.limit / x) return std::nullopt;
  const int64_t value = op == '+' ? x + y : op == '-' ? x - y : op == '*' ? x * y : x / y;
  if (value < 1 || value > rules.limit) return std::nullopt;
  return Step{op, a, b, value};
}

// Joins terms i and j (places in `open`).
void take_step(ExpressionTree& tree, Open& open, size_t i, size_t j, const Step& step) {
  open.terms[std::min(i, j)] = tree.add_step(step.op, step.left, step.right, step.value);
  open.terms[std::max(i, j)] = open.terms[static_cast<size_t>(--open.count)];
}

bool random_step(Random& random, ExpressionTree& tree, Open& open, char fixed, int tries,
                 const StepRules& rules) {
  for (int attempt = 0; attempt < tries; ++attempt) {
    const auto i = static_cast<size_t>(random.below(open.count));
    auto j = static_cast<size_t>(random.below(open.count - 1));
    if (j >= i) ++j;
    const char op = fixed != 0 ? fixed : draw_operator(random, rules);
    if (const auto step = allowed_step(tree, op, open.terms[i], open.terms[j], rules)) {
      take_step(tree, open, i, j, *step);
      return true;
    }
  }
  return false;
}

bool aimed_step(Random& random, ExpressionTree& tree, Open& open, int64_t aim, const StepRules& rules) {
  constexpr std::array<char, 4> kOperators{'+', '-', '*', '/'};
  const int64_t first = random.below(4);  // so that ties do not favour an operator
  std::optional<Step> best;
  for (int64_t q = 0; q < 4; ++q) {
    const auto step = allowed_step(tree, kOperators[static_cast<size_t>((first + q) % 4)], open.terms[0],
                                   open.terms[1], rules);
    if (step && (!best || std::abs(step->value - aim) < std::abs(best->value - aim))) best = step;
  }
  if (!best) return false;
  take_step(tree, open, 0, 1, *best);
  return true;
}

}  // namespace

char draw_operator(Random& random, const StepRules& rules) {
  const auto& w = rules.weights;
  int64_t x = random.below(w[0] + w[1] + w[2] + w[3]);
  for (size_t i = 0; i < 3; ++i) {
    if (x < w[i]) return "+-*"[i];
    x -= w[i];
  }
  return '/';
}

std::optional<ExpressionTree> draw_tree(Random& random, std::span<const int> numbers, const StepRules& rules,
                                        std::optional<int64_t> aim) {
  ExpressionTree tree;
  Open open = plant_leaves(tree, numbers);
  while (open.count > 1) {
    const bool done = open.count == 2 && aim ? aimed_step(random, tree, open, *aim, rules)
                                             : random_step(random, tree, open, 0, 12, rules);
    if (!done) return std::nullopt;
  }
  return tree;
}

std::optional<ExpressionTree> draw_tree_of(Random& random, std::span<const int> numbers,
                                           std::span<const char> operators, const StepRules& rules) {
  R1_CHECK(operators.size() + 1 == numbers.size(), operators.size(), " operators for ", numbers.size(),
           " numbers");
  ExpressionTree tree;
  Open open = plant_leaves(tree, numbers);
  for (const char op : operators) {
    if (!random_step(random, tree, open, op, 2, rules)) return std::nullopt;
  }
  return tree;
}

std::string to_text(const ExpressionTree& tree) {
  std::string out;
  append_text(tree, tree.size - 1, out);
  return out;
}

std::string canonical_text(const ExpressionTree& tree) {
  return canonical(tree, tree.size - 1);
}

}  // namespace r1
