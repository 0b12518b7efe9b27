// engine/grammar/pattern.h: regular expressions as automata: those of JSON Schema's "pattern", and those that a
// whole answer must match.
//
// Supported: characters, ., [..] and [^..] with ranges, \d \D \w \W \s \S, the escapes \t \n \r \f \v \0 \cX
// \xHH \uHHHH \u{H...} and those of punctuation, (..), (?:..), (?<name>..), (?P<name>..), |, *, +, ?, {m},
// {m,}, {m,n}, lazy forms of these (they match the same texts), ^ and $ at the beginning and the end of an
// alternative. The classes \d \w \s are those of ECMAScript: digits and letters of ASCII.
//
// Refused, each by its name: look-around, back-references, conditions, atomic groups, flags, comments,
// possessive repetitions, \b, \A, \Z, \p{..}, and ^ or $ elsewhere.
#pragma once

#include <string>
#include <string_view>

#include "engine/grammar/regular.h"
#include "engine/grammar/rules.h"

namespace r1 {

inline constexpr size_t kMaxPatternStates = 20'000;  // of the nondeterministic automaton

// The texts in which a pattern matches somewhere, as in JSON Schema. Throws Error "pattern "..." REASON".
CodeAutomaton pattern_language(std::string_view pattern);
// The texts that a pattern matches from their beginning to their end. {,n}, which is a text in some dialects and a
// repetition in others, is refused. Throws Error "pattern "..." REASON".
CodeAutomaton whole_pattern_language(std::string_view pattern);
// Returns that language as a grammar. Throws Error "SOURCE: REASON", also if the pattern matches no text.
GrammarRules whole_pattern_rules(std::string_view pattern, const std::string& source);

// Patterns of formats: date, time, date-time, duration, email, hostname, ipv4, ipv6, uuid, uri. "" for others.
std::string_view pattern_of_format(std::string_view format);

}  // namespace r1
