// engine/grammar/pattern.h: the regular expressions of JSON Schema's "pattern" as automata.
//
// Supported: characters, ., [..] and [^..] with ranges, \d \D \w \W \s \S, the escapes \t \n \r \f \v \0 \cX
// \xHH \uHHHH \u{H...} and those of punctuation, (..), (?:..), |, *, +, ?, {m}, {m,}, {m,n}, lazy forms of
// these (they match the same texts), ^ and $ at the beginning and the end of an alternative. As in JSON
// Schema, a pattern without ^ or $ matches anywhere in the text.
//
// Refused: look-around, back-references, \b, \p{..}, named groups, and ^ or $ elsewhere.
#pragma once

#include <string>
#include <string_view>

#include "engine/grammar/regular.h"

namespace r1 {

inline constexpr size_t kMaxPatternStates = 20'000;  // of the nondeterministic automaton

// The texts that a pattern matches. Throws Error "pattern "..." REASON".
CodeAutomaton pattern_language(std::string_view pattern);

// Patterns of formats: date, time, date-time, duration, email, hostname, ipv4, ipv6, uuid, uri. "" for others.
std::string_view pattern_of_format(std::string_view format);

}  // namespace r1
