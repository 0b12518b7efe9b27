// reward/math/units.h: the units of measure behind a number.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "reward/math/fraction.h"

namespace r1::math {

struct Unit {
  std::string_view dimension;  // "length^2", "time", ...
  Fraction scale;              // in terms of the dimension's own unit
};

bool is_unit(std::string_view word);

// Reads "square centimeters", "cm^2", "hours", "miles per hour", "m/s". Returns nothing if the text names no
// known unit of measure ("apples").
std::optional<Unit> read_unit(std::string_view text);

}  // namespace r1::math
