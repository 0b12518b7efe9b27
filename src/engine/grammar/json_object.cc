// engine/grammar/json_object.cc: the grammar of any JSON object. White space is bounded as in json_schema.h.
#include "engine/grammar/gbnf.h"
#include "engine/grammar/grammar.h"

namespace r1 {

std::shared_ptr<const Grammar> Grammar::json_object() {
  static constexpr std::string_view kText = R"(
root   ::= object
object ::= "{" (" "? member ("," " "? member)*)? " "? "}"
member ::= string ":" " "? value
array  ::= "[" (" "? value ("," " "? value)*)? " "? "]"
value  ::= object | array | string | number | "true" | "false" | "null"
string ::= "\"" char* "\""
char   ::= [^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" escape)
escape ::= ([0-9A-CE-Fa-ce-f] hex | [Dd] [0-7]) hex{2}
         | [Dd] [89ABab] hex{2} "\\u" [Dd] [C-Fc-f] hex{2}
hex    ::= [0-9A-Fa-f]
number ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?
)";
  return from_gbnf(kText, "json_object");
}

}  // namespace r1
