// reward/digits.h: checking a whole number written in a base from 2 to 16. Total: any bytes give a verdict.
//
// Digits beyond 9 are a to f in either case. Zeros in front change nothing, and 0b, 0o or 0x in front is
// allowed where the base is 2, 8 or 16. White space may stand around the number, nothing else.
#pragma once

#include <string_view>

#include "reward/response.h"
#include "reward/verdict.h"

namespace r1 {

class Json;

// Gold {"base":16,"digits":"ff"}; Error where it is not of that shape. `why` is "ok", one of response.h's
// reasons, bad_digits:empty, bad_digits:unknown_character (no digit of any base to 16),
// bad_digits:digit_beyond_base or wrong_value.
AnswerJudge digits_judge(const Json& gold);

}  // namespace r1
