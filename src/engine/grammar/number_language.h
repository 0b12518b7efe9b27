// engine/grammar/number_language.h: sets of JSON numbers as regular languages over their texts.
//
// Numbers are written without an exponent: at most 16 digits before the point and 16 behind it. Zero has no
// sign. A bound may be any decimal number that a JSON document writes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/grammar/regular.h"

namespace r1 {

inline constexpr int kNumberDigits = 16;  // before the point, and behind it

// A decimal number: (-1)^negative * 0.d1 d2 d3.. * 10^point, d1 > 0; zero has no digits.
struct Decimal {
  bool negative = false;
  std::string digits;
  int64_t point = 0;
  bool is_zero() const { return digits.empty(); }
  bool is_integer() const { return static_cast<int64_t>(digits.size()) <= point; }
  bool operator==(const Decimal&) const = default;
};

// Reads a JSON number. Throws Error if its exponent is beyond 400.
Decimal read_decimal(std::string_view literal);
int compare(const Decimal& a, const Decimal& b);  // -1, 0 or 1

CodeAutomaton all_numbers();
CodeAutomaton integers();                      // without a point
CodeAutomaton integral_numbers();              // 1.00 as well
CodeAutomaton equal_to(const Decimal& value);  // 1.5, 1.50, ..
enum class Bound : uint8_t { at_least, above, at_most, below };
CodeAutomaton numbers_bounded(Bound bound, const Decimal& value);
// Throws Error if `divisor` has too many digits for an automaton (more than 10000 remainders).
CodeAutomaton multiples_of(const Decimal& divisor);

}  // namespace r1
