// data/countdown_question.h: asks a countdown problem as a person would type it, and reads such a question
// back.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "data/countdown.h"

namespace r1 {

inline constexpr int kPhrasings = 24;

// phrasing is in 0 .. kPhrasings-1: target first or numbers first, various separators, cases and punctuation.
std::string ask(const CountdownProblem& problem, int phrasing);

// Finds the numbers and the target in free wording; a question by ask() always reads back. The numbers are
// the only list of integers ("3, 5 and 7", "3 5 7", "[3,5,7]"). The target is the only lone integer; either a
// word beside it marks it ("make 24", "24 from", "target: 24", "= 24") or the text has no words at all ("3 5
// 7 -> 24"). Returns nothing otherwise, or if the text is ambiguous. Decimals, leading zeros and numbers
// beyond 9,999 are not read (the target: nine digits, a minus allowed). Takes 2 to kMaxCountdownNumbers
// numbers, at most 2,000 bytes.
std::optional<CountdownProblem> parse_question(std::string_view question);

}  // namespace r1
