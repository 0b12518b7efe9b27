#include "reward/verifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>

#include "base/error.h"
#include "formats/json.h"
#include "reward/calendar.h"
#include "reward/countdown.h"
#include "reward/digits.h"
#include "reward/number.h"
#include "reward/response.h"
#include "reward/roles.h"

namespace r1 {
namespace {

Verdict verify_countdown_gold(const Json& gold, std::string_view response) {
  return verify_countdown(countdown_of(gold), response);
}

Verdict verify_expression_gold(const Json& gold, std::string_view response) {
  const std::string value = gold_text(gold);
  return judge_response(response,
                        [&](std::string_view answer) { return verify_expression(value, answer).why; });
}

struct Verifier {
  std::string_view name;
  Verdict (*verify)(const Json& gold, std::string_view response);
};

constexpr auto kVerifiers = std::to_array<Verifier>({
    {"countdown", verify_countdown_gold},
    {"expression", verify_expression_gold},
    {"number", verify_number},
    {"equation", verify_equation},
    {"digits", verify_digits},
    {"calendar", verify_calendar},
    {"roles", verify_roles},
});

}  // namespace

Verdict verify(std::string_view task, const Json& gold, std::string_view response) {
  const std::string_view name = verifier_name(task);
  const auto verifier = std::ranges::find(kVerifiers, name, &Verifier::name);
  R1_CHECK(verifier != kVerifiers.end(), "task ", task, " wants verifier ", name);
  return verifier->verify(gold, response);
}

Verdict verify(const Problem& problem, std::string_view response) {
  verifier_name(problem.task);  // an unknown task is the first thing to say
  return verify(problem.task, parse_json(problem.gold, fmt::format("gold of task {}", problem.task)),
                response);
}

}  // namespace r1
