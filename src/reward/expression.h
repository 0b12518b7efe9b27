// reward/expression.h: exact value of an arithmetic expression that a model or a person wrote. Total: every
// byte string gives a value or a reason, in time linear in its length, without allocation beyond the list of
// numbers.
//
//   expression = term { (+ | -) term }      term = factor { (* | /) factor }      factor = integer | (
//   expression )
//
// - White space (blank, tab, newline, carriage return) may stand between symbols.
// - × · ⋅ stand for *, ÷ for /, − (U+2212) for -: keyboards and models produce them and they mean one thing.
// - No signs in front of an operand: in the games that this judges every sign joins two of the given numbers,
// and
//   -a+b is b-a. It also keeps "3--5" from being read generously.
// - Values are fractions within 63 bits; whatever passes that on the way is refused, even if it would cancel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "data/rational.h"

namespace r1 {

inline constexpr size_t kMaxExpressionBytes = 1024;
inline constexpr int kMaxExpressionDepth = 64;  // open parentheses

struct Evaluated {
  // Empty when evaluated, else one of: empty, too_long, too_deep, number_too_large, leading_zero, decimal,
  // power (** or
  // ^), floor_division (//), unary_sign, equals_sign, missing_operator (3 5, 3(4)), missing_operand,
  // unbalanced (parentheses), unknown_character, trailing_text (words after a complete expression),
  // division_by_zero, overflow.
  std::string_view why;  // a literal
  size_t where = 0;      // the byte at which it was refused
  Rational value;
  std::vector<int64_t> numbers;  // the integers, as written, from left to right
  bool ok() const { return why.empty(); }
};

Evaluated evaluate_expression(std::string_view text);

}  // namespace r1
