// reward/math/lexer.h: splits mathematical notation, in LaTeX or plain text, into tokens.
//
// Different spellings give the same tokens: \dfrac is frac; ≤, \le, \leq, \leqslant and <= are "<="; \left
// and spaces vanish; 7,425 and 7{,}425 are one number; 0.\overline{3} is 1/3.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reward/math/fraction.h"

namespace r1::math {

inline constexpr size_t kMaxNotationBytes = 4096;
inline constexpr size_t kMaxTokens = 1024;

struct Token {
  enum class Kind : uint8_t {
    number,    // its value is `number`; `text` is its spelling
    symbol,    // a Latin or Greek letter: "x", "\alpha"
    function,  // sin, log, ...
    text,      // \text{...}, a word, a unit
    sign,  // everything else: + - * / ^ _ ! % ° = < > <= >= != ~ in cup cap pm , ; : | ( ) [ ] { } set{ }set and or
           // inf empty frac sqrt binom $ & newline matrix endmatrix
  };
  Kind kind = Kind::sign;
  std::string text;
  Fraction number;
  bool blank_before = false;

  bool is(std::string_view sign) const { return kind == Kind::sign && text == sign; }
};

// Returns nothing if the text is too long or has a command or a character that is not known here.
std::optional<std::vector<Token>> tokens_of(std::string_view text);

}  // namespace r1::math
