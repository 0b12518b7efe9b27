// engine/grammar/json_grammar.h: the grammar of any JSON value, in GBNF.
//
// White space is bounded: one space may stand behind "{", "[", ":" and ",", and before "}" and "]". Numbers
// have at most 16 digits before the point, 16 behind it, and two in the exponent. Surrogates come in pairs.
#pragma once

#include <string_view>

namespace r1 {

inline constexpr std::string_view kJsonGrammar = R"(
value  ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" (" "? member ("," " "? member)*)? " "? "}"
member ::= string ":" " "? value
array  ::= "[" (" "? value ("," " "? value)*)? " "? "]"
string ::= "\"" char* "\""
char   ::= [^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" escape)
escape ::= ([0-9A-CE-Fa-ce-f] hex | [Dd] [0-7]) hex{2}
         | [Dd] [89ABab] hex{2} "\\u" [Dd] [C-Fc-f] hex{2}
hex    ::= [0-9A-Fa-f]
number ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?
)";

}  // namespace r1
