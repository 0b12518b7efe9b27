#include "reward/countdown.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "formats/shown.h"
#include "reward/answer_text.h"
#include "reward/expression.h"
#include "reward/number.h"

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

std::string_view compare_values(const Fraction& value, const Fraction& gold) {
  return value == gold ? "ok" : "wrong_value";
}

// Empty `numbers`: any may be used, and the answer may be one number in any way to write it (number.h).
std::string judge(std::string_view answer, const Fraction& gold, std::span<const int> numbers) {
  const std::string_view text = unwrapped(answer);
  if (numbers.empty()) {
    if (const NumberText number = read_number(text); number.ok())
      return std::string(compare_values(number.value, gold));
  }
  const Evaluated evaluated = evaluate_expression(text, numbers.empty() ? Decimals::read : Decimals::refuse);
  if (!evaluated.ok()) return fmt::format("bad_expression:{}", evaluated.why);
  if (!numbers.empty()) {
    const std::string_view mismatch = compare_numbers(evaluated.numbers, numbers);
    if (!mismatch.empty()) return std::string(mismatch);
  }
  return std::string(compare_values(evaluated.value, gold));
}

Fraction read_gold(std::string_view gold) {
  if (const NumberText number = read_number(gold); number.ok()) return number.value;
  const Evaluated evaluated = evaluate_expression(unwrapped(gold), Decimals::read);
  if (!evaluated.ok()) {
    throw Error(fmt::format("gold \"{}\" is neither a number nor an expression ({} at byte {})",
                            shown(gold.substr(0, 80)), evaluated.why, evaluated.where));
  }
  return evaluated.value;
}

}  // namespace

AnswerJudge countdown_judge(const CountdownProblem& problem) {
  R1_CHECK(!problem.numbers.empty(), "a countdown problem without numbers");
  return [target = Fraction(problem.target), numbers = problem.numbers](std::string_view answer) {
    return judge(answer, target, numbers);
  };
}

Verdict verify_countdown(const CountdownProblem& problem, std::string_view response) {
  return judge_response(response, countdown_judge(problem));
}

AnswerJudge expression_judge(std::string_view gold, std::span<const int> numbers) {
  return [value = read_gold(gold), numbers = std::vector(numbers.begin(), numbers.end())](
             std::string_view answer) { return judge(answer, value, numbers); };
}

Verdict verify_expression(std::string_view gold, std::string_view pred, std::span<const int> numbers) {
  const AnswerJudge judge = expression_judge(gold, numbers);
  for (const std::string_view tag : {"<think>", "</think>", "<answer>", "</answer>"}) {
    if (pred.find(tag) != std::string_view::npos) return judge_response(pred, judge);
  }
  Verdict verdict{.correct = false, .well_formed = true, .why = judge(pred)};
  verdict.correct = verdict.why == "ok";
  return verdict;
}

}  // namespace r1
