// data/countdown_question.h: asking a countdown problem as a person would type it, and reading such a
// question back.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "data/countdown.h"

namespace r1 {

inline constexpr int kPhrasings = 24;

// phrasing in 0 .. kPhrasings-1: target first or numbers first, various separators, cases and punctuation.
std::string ask(const CountdownProblem& problem, int phrasing);

// Finds the numbers and the target in free wording; ask() always reads back. The numbers are the one list of
// integers
// ("3, 5 and 7", "3 5 7", "[3,5,7]"); the target is the one lone integer, and either a word beside it says so
// ("make 24", "24 from", "target: 24", "= 24") or the text has no words at all ("3 5 7 -> 24"). Nothing where
// that is not so, or ambiguous; decimals, zeros in front and numbers beyond 9,999 are not read (the target:
// nine digits, a minus allowed). 2 to kMaxCountdownNumbers numbers, at most 2,000 bytes.
std::optional<CountdownProblem> parse_question(std::string_view question);

}  // namespace r1
