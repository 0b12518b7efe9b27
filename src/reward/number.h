// reward/number.h: checking an answer that is one number, exactly. Total: any bytes give a verdict.
//
//   number = [-] integer [ / integer | . digits ]
//
// White space may stand around the number and its fraction bar; − (U+2212) is a minus. 6/4, 3/2 and 1.5 are
// one value. No plus sign, exponent, thousands separator, unit or second number; no zeros in front.
#pragma once

#include <string_view>

#include "data/rational.h"
#include "reward/verdict.h"

namespace r1 {

class Json;

struct NumberText {
  // Empty where read, else one of: empty, not_a_number, leading_zero, number_too_large (beyond 63 bits),
  // division_by_zero, trailing_text (anything after the number).
  std::string_view why;
  Rational value;
  bool ok() const { return why.empty(); }
};

NumberText read_number(std::string_view text);

// Correct: the response is well formed (response.h) and its answer is the gold number. `why` is "ok", one of
// response.h's reasons, bad_number:<one of the above> or wrong_value. Throws Error where the gold, a JSON
// integer or a number as a string, is none.
Verdict verify_number(const Json& gold, std::string_view response);

// Gold {"unknown":"x","value":"7/2"}. The answer is the number, or "x = number".
Verdict verify_equation(const Json& gold, std::string_view response);

// The reason of a judged answer: "ok", bad_number:<...> or wrong_value.
std::string judge_number(std::string_view answer, const Rational& gold);

}  // namespace r1
