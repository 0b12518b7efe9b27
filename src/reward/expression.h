// reward/expression.h: the exact value of an arithmetic expression. Every byte string gives a value or a
// reason, in time linear in its length. Only the list of numbers is allocated.
//
//   expression = term { (+ | -) term }
//   term       = factor { (* | /) factor }
//   factor     = [sign] ( integer | "(" expression ")" | frac )
//   frac       = \frac{expression}{expression}, also \dfrac, \tfrac and \cfrac; \frac12 is 1/2
//
// - White space (blank, tab, newline, carriage return) and LaTeX's (\, \; \: \! "\ " \quad) may stand
//   between symbols; \left and \right in front of a parenthesis are ignored.
// - × · ⋅ \times \cdot \ast are read as *, ÷ \div as /, − (U+2212) as -.
// - A sign may stand in front of an operand, but not behind another sign: -3+5, 3*-5 and 3-(-5) are accepted,
//   3--5 is not.
// - Leading zeros of an integer are ignored; 7,425 and 7{,}425 are read as 7425.
// - With Decimals::read an operand may also be a decimal: 1.5, .5, 5.
// - Values are fractions within 63 bits. A larger intermediate value is refused, even if it would cancel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "data/rational.h"

namespace r1 {

inline constexpr size_t kMaxExpressionBytes = 1024;
inline constexpr int kMaxExpressionDepth = 64;  // open parentheses and fractions

struct Evaluated {
  // Empty when evaluated, else one of: empty, too_long, too_deep, number_too_large, decimal, power (** or ^),
  // floor_division (//), unary_sign (behind another sign), equals_sign, missing_operator (3 5, 3(4)),
  // missing_operand, bad_fraction, unbalanced (parentheses), unknown_character, trailing_text (words after a
  // complete expression), division_by_zero, overflow.
  std::string_view why;  // a literal
  size_t where = 0;      // byte offset at which the text was refused
  Rational value;
  // The integers without their signs, from left to right; for a decimal, its whole part.
  std::vector<int64_t> numbers;
  bool ok() const { return why.empty(); }
};

enum class Decimals : bool { refuse, read };

Evaluated evaluate_expression(std::string_view text, Decimals decimals = Decimals::refuse);

}  // namespace r1
