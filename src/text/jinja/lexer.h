// text/jinja/lexer.h: turns a template's source into tokens, with Jinja's white-space rules (trim_blocks and
// lstrip_blocks on, as Hugging Face sets them).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace r1::jinja {

struct Token {
  enum class Kind {
    text,             // template data, already trimmed
    output_begin,     // {{
    output_end,       // }}
    statement_begin,  // {%
    statement_end,    // %}
    name,
    integer,
    number,
    string,
    sign,  // + - == ( [ . ...
    end,
  };
  Kind kind = Kind::end;
  std::string text;  // a string's value, unescaped
  int line = 0;      // from 1
};

// White space as Python's str.isspace has it: White_Space and the four information separators.
bool is_python_space(char32_t code);

// Throws TemplateError.
std::vector<Token> tokenize(std::string_view source);

}  // namespace r1::jinja
