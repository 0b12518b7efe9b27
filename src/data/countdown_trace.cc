#include "data/countdown_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"

namespace r1 {
namespace {

const ExpressionNode& node_at(const ExpressionTree& tree, int index) {
  return tree.nodes[static_cast<size_t>(index)];
}

// A step that continues from the last result starts with it, so a + or * with that result on the right is
// turned round. This happens in the tree, so that the answer reads in the same order as the thought.
void turn_towards_chain(ExpressionTree& tree) {
  for (int i = tree.leaves + 1; i < tree.size; ++i) {
    ExpressionNode& step = tree.nodes[static_cast<size_t>(i)];
    if (step.right == i - 1 && (step.op == '+' || step.op == '*')) std::swap(step.left, step.right);
  }
}

std::string write_attempt(const ExpressionTree& tree, bool hit) {
  std::string out;
  for (int i = tree.leaves; i < tree.size; ++i) {
    const ExpressionNode& step = node_at(tree, i);
    const bool goes_on = i > tree.leaves && step.left == i - 1;
    if (!goes_on) {
      if (i > tree.leaves) out += ',';
      out += std::to_string(node_at(tree, step.left).value);
    }
    out += fmt::format("{}{}={}", step.op, node_at(tree, step.right).value, step.value);
  }
  return out + (hit ? " yes" : " no");
}

void check_options(const CountdownProblem& problem, const TraceOptions& options) {
  const auto is_share = [](double x) { return x >= 0 && x <= 1; };
  if (!is_share(options.stop) || !is_share(options.long_share) || !is_share(options.long_stop) ||
      !is_share(options.aimed)) {
    throw Error(fmt::format(
        "countdown trace: stop {}, long_share {}, long_stop {} and aimed {} are shares from 0 to 1",
        options.stop, options.long_share, options.long_stop, options.aimed));
  }
  if (options.max_attempts < 1) {
    throw Error(fmt::format("countdown trace: max_attempts is {}: give at least 1", options.max_attempts));
  }
  if (problem.numbers.size() < 2 || problem.numbers.size() > kMaxCountdownNumbers) {
    throw Error(fmt::format("countdown trace: {} numbers: give 2 to {}", problem.numbers.size(),
                            kMaxCountdownNumbers));
  }
}

// An attempt that differs from those made so far; nothing if none is found (few numbers allow few).
std::optional<ExpressionTree> draw_attempt(Random& random, const CountdownProblem& problem,
                                           const TraceOptions& options, const std::vector<std::string>& made,
                                           int tries) {
  for (int i = 0; i < tries; ++i) {
    const bool aimed = random.uniform_double() < options.aimed;
    const auto tree = draw_tree(random, problem.numbers, options.rules,
                                aimed ? std::optional(problem.target) : std::nullopt);
    if (tree && std::ranges::find(made, canonical_text(*tree)) == made.end()) return tree;
  }
  return std::nullopt;
}

}  // namespace

CountdownTrace make_trace(Random& random, const CountdownProblem& problem, const TraceOptions& options) {
  check_options(problem, options);
  const double stop = random.uniform_double() < options.long_share ? options.long_stop : options.stop;
  CountdownTrace trace;
  std::vector<std::string> made;
  while (trace.attempts < options.max_attempts) {
    auto attempt = draw_attempt(random, problem, options, made, made.empty() ? 20000 : 40);
    if (!attempt) break;
    made.push_back(canonical_text(*attempt));
    turn_towards_chain(*attempt);
    trace.correct = attempt->root().value == problem.target;
    if (trace.attempts > 0) trace.thought += '\n';
    trace.thought += write_attempt(*attempt, trace.correct);
    trace.answer = to_text(*attempt);
    ++trace.attempts;
    if (trace.correct || random.uniform_double() < stop) break;
  }
  if (trace.attempts == 0) {
    throw Error(
        fmt::format("countdown trace: no whole-number steps up to {} join the numbers", options.rules.limit));
  }
  return trace;
}

std::string to_document(const CountdownTrace& trace) {
  return "<think>" + trace.thought + "</think><answer>" + trace.answer + "</answer>";
}

}  // namespace r1
