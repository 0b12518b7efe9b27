#include "reward/countdown.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "reward/expression.h"
#include "reward/response.h"

namespace r1 {
namespace {

// Can the digits be cut into two or more of the given numbers? (How often each is used does not matter here:
// the answer is wrong either way, this only names the mistake.)
bool is_glued(int64_t value, std::span<const int> given) {
  const std::string digits = std::to_string(value);
  std::vector<bool> reachable(digits.size() + 1, false);
  reachable[0] = true;
  for (size_t at = 0; at < digits.size(); ++at) {
    if (!reachable[at]) continue;
    for (const int number : given) {
      const std::string piece = std::to_string(number);
      if (digits.compare(at, piece.size(), piece) == 0) reachable[at + piece.size()] = true;
    }
  }
  return reachable[digits.size()];
}

// "" where `used` is exactly the multiset `given`.
std::string_view compare_numbers(std::span<const int64_t> used, std::span<const int> given) {
  const auto times_used = [&](int64_t n) { return std::count(used.begin(), used.end(), n); };
  const auto times_given = [&](int64_t n) { return std::count(given.begin(), given.end(), n); };
  bool reused = false;
  for (const int64_t number : used) {
    if (times_given(number) == 0) return is_glued(number, given) ? "digits_glued" : "number_not_given";
    reused |= times_used(number) > times_given(number);
  }
  if (reused) return "number_reused";
  const bool all =
      std::all_of(given.begin(), given.end(), [&](int n) { return times_used(n) == times_given(n); });
  return all ? "" : "number_unused";
}

// Empty `numbers`: any may be used.
std::string judge(std::string_view expression, const Rational& gold, std::span<const int> numbers) {
  const Evaluated evaluated = evaluate_expression(expression);
  if (!evaluated.ok()) return fmt::format("bad_expression:{}", evaluated.why);
  if (!numbers.empty()) {
    const std::string_view mismatch = compare_numbers(evaluated.numbers, numbers);
    if (!mismatch.empty()) return std::string(mismatch);
  }
  return evaluated.value == gold ? "ok" : "wrong_value";
}

Verdict judge_whole(std::string_view response, const Rational& gold, std::span<const int> numbers) {
  return judge_response(response, [&](std::string_view answer) { return judge(answer, gold, numbers); });
}

Rational read_gold(std::string_view gold) {
  std::string_view text = gold;
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  // A minus before a lone integer: the value of a gold answer may be negative though an expression has no
  // signs.
  const bool negative =
      text.starts_with('-') && text.find_first_not_of("0123456789 ", 1) == std::string_view::npos;
  if (negative) text.remove_prefix(1);
  Evaluated evaluated = evaluate_expression(text);
  if (!evaluated.ok()) {
    throw Error(fmt::format("gold \"{}\" is neither an integer nor an expression ({} at byte {})",
                            gold.substr(0, 80), evaluated.why, evaluated.where));
  }
  if (negative) evaluated.value.num = -evaluated.value.num;
  return evaluated.value;
}

}  // namespace

Verdict verify_countdown(const CountdownProblem& problem, std::string_view response) {
  R1_CHECK(!problem.numbers.empty(), "a countdown problem without numbers");
  return judge_whole(response, {.num = problem.target, .den = 1}, problem.numbers);
}

Verdict verify_expression(std::string_view gold, std::string_view pred, std::span<const int> numbers) {
  const Rational value = read_gold(gold);
  for (const std::string_view tag : {"<think>", "</think>", "<answer>", "</answer>"}) {
    if (pred.find(tag) != std::string_view::npos) return judge_whole(pred, value, numbers);
  }
  Verdict verdict{.correct = false, .well_formed = true, .why = judge(pred, value, numbers)};
  verdict.correct = verdict.why == "ok";
  return verdict;
}

}  // namespace r1
