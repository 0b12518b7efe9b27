// engine/grammar/gbnf.h: reads grammars in GBNF, the notation of llama.cpp's grammar files.
//
//   # a comment, to the end of the line
//   root   ::= "answer: " (number | "none") "\n"?
//   number ::= [1-9] [0-9]{0,8}
//
// "text"             these characters
// [a-z_] [^"\n] .    one character of a set, one that is not in the set, any character
// name  (a b | c)    a rule, a group
// x* x+ x? x{3} x{2,} x{2,5}
//
// Escapes in texts and sets: \n \r \t \\ \" \[ \] \- \^ and \xHH, \uHHHH, \UHHHHHHHH for code points. Names
// have letters, digits, "-" and "_". A rule ends with its line, except inside a group and beside a "|". The
// text of the whole answer is that of rule "root". Characters are Unicode code points.
//
// Refused, each with its line: rules that are missing or given twice, and references to tokens (<...>),
// because a grammar is about text, whatever the tokens are.
#pragma once

#include <string>
#include <string_view>

#include "engine/grammar/rules.h"

namespace r1 {

inline constexpr size_t kMaxGbnfBytes = size_t{4} << 20;
inline constexpr int kMaxGbnfDepth = 200;
inline constexpr uint32_t kMaxGbnfRepeats = 1'000'000;

// Throws Error "SOURCE:LINE: reason".
GrammarRules parse_gbnf(std::string_view text, const std::string& source);

}  // namespace r1
