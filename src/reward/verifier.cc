#include "reward/verifier.h"

#include <string>

#include "formats/json.h"
#include "reward/countdown.h"
#include "reward/response.h"

namespace r1 {

Verdict verify(const Problem& problem, std::string_view response) {
  if (problem.task == "expression") {
    const std::string gold = parse_json(problem.gold, "gold of an expression problem").string();
    const Response parts = read_response(response);
    Verdict verdict = format_verdict(parts);
    if (!verdict.well_formed) return verdict;
    const Verdict answer = verify_expression(gold, parts.answer);
    verdict.correct = answer.correct;
    verdict.why = answer.why;
    return verdict;
  }
  check_task(problem.task);
  return verify_countdown(countdown_of(problem), response);
}

}  // namespace r1
