// data/rational.h: exact fractions within 63 bits. Every operation is total: a result that does not fit is
// refused, not wrapped.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace r1 {

// In lowest terms, with den >= 1 and |num| and den at most 2^63 - 1, so == compares values.
struct Rational {
  int64_t num = 0;
  int64_t den = 1;
  bool operator==(const Rational&) const = default;
};

// a op b, for op one of + - * /. Returns nothing if the result does not fit, or on division by zero.
std::optional<Rational> apply_operator(char op, const Rational& a, const Rational& b);

// "7", "-7/2"
std::string to_text(const Rational& value);

}  // namespace r1
