// reward/countdown.h: the exact verifier of countdown answers. Every byte string gets a verdict.
#pragma once

#include <span>
#include <string_view>

#include "data/countdown.h"
#include "reward/response.h"
#include "reward/verdict.h"

namespace r1 {

// Correct: the response has an answer (response.h), which is one expression (expression.h) that uses each of
// the problem's numbers exactly once and equals the target. A sign in front of an operand is allowed: -3+29
// uses 3 and 29. `why` is "ok", one of response.h's reasons, or the first that holds of:
//   bad_expression:<one of expression.h's reasons>
//   digits_glued       a number that was not given, but is given numbers written side by side (35 of 3 and 5)
//   number_not_given
//   number_reused
//   number_unused
//   wrong_value
AnswerJudge countdown_judge(const CountdownProblem& problem);
Verdict verify_countdown(const CountdownProblem& problem, std::string_view response);

// Checks that `pred` equals `gold`. `pred` is an expression, a number (number.h), or a whole response, whose
// answer is then compared. `gold` is a number or an expression; throws Error if it is neither. If `numbers`
// is not empty, `pred` must be an expression that uses exactly these, as above. An expression alone counts as
// well formed.
AnswerJudge expression_judge(std::string_view gold, std::span<const int> numbers = {});
Verdict verify_expression(std::string_view gold, std::string_view pred, std::span<const int> numbers = {});

}  // namespace r1
