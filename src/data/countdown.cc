#include "data/countdown.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "data/expression_tree.h"

namespace r1 {
namespace {

void check_options(const CountdownOptions& options) {
  if (options.low < 0 || options.high < options.low || options.high > 9999) {
    throw Error(fmt::format("countdown: numbers from {} to {}: give 0 <= low <= high <= 9999", options.low,
                            options.high));
  }
  if (options.target_high < options.target_low) {
    throw Error(fmt::format("countdown: targets from {} to {}: the range is empty", options.target_low,
                            options.target_high));
  }
  if (!(options.four_numbers >= 0 && options.four_numbers <= 1)) {
    throw Error(fmt::format("countdown: four_numbers is {}: give a share from 0 to 1", options.four_numbers));
  }
  if (options.step_limit < 0 || options.step_limit > 1'000'000'000) {
    throw Error(fmt::format("countdown: step_limit is {}: give 0 to 10^9", options.step_limit));
  }
}

}  // namespace

CountdownProblem make_problem(Random& random, const CountdownOptions& options) {
  check_options(options);
  // The count is drawn before the loop, so that rejections do not distort its shares. The operators stay
  // until they have failed so often that almost no numbers can allow them (three divisions, for example).
  const size_t count = random.uniform_double() < options.four_numbers ? 4 : 3;
  const StepRules rules{.limit = options.step_limit};
  CountdownProblem problem;
  problem.numbers.resize(count);
  constexpr int kFailures = 500, kTries = 2'000'000;
  int failures = kFailures;
  std::array<char, 3> operators{};
  for (int i = 0; i < kTries; ++i) {
    if (failures++ == kFailures) {
      for (char& op : operators) op = draw_operator(random, rules);
      failures = 0;
    }
    for (int& number : problem.numbers) number = static_cast<int>(random.between(options.low, options.high));
    const auto tree = options.numbers_first ? draw_tree(random, problem.numbers, rules)
                                            : draw_tree_of(random, problem.numbers,
                                                           std::span(operators).first(count - 1), rules);
    if (!tree) continue;
    problem.target = tree->root().value;
    if (problem.target < options.target_low || problem.target > options.target_high) continue;
    if (in_split(problem.numbers, options.split)) return problem;
    failures = 0;
  }
  throw Error(
      fmt::format("countdown: no {} problem of {} numbers from {} to {} with a target from {} to {} in {} "
                  "draws: widen the ranges",
                  options.split == Split::train ? "training" : "held-out", count, options.low, options.high,
                  options.target_low, options.target_high, kTries));
}

bool is_game24_hand(std::span<const int> numbers) {
  return numbers.size() == 4 &&
         std::all_of(numbers.begin(), numbers.end(), [](int n) { return n >= 1 && n <= 13; });
}

std::string countdown_content(std::span<const int> numbers) {
  std::vector<int> sorted(numbers.begin(), numbers.end());
  std::sort(sorted.begin(), sorted.end());
  std::string text = "countdown";
  for (const int number : sorted) text += ' ' + std::to_string(number);
  return text;
}

bool is_held_out(std::span<const int> numbers) {
  return is_game24_hand(numbers) || is_held_out_content(countdown_content(numbers));
}

bool in_split(std::span<const int> numbers, Split split) {
  if (is_game24_hand(numbers)) return false;
  return is_held_out_content(countdown_content(numbers)) == (split == Split::held_out);
}

}  // namespace r1
