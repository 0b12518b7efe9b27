// reward/math/units.h: units of measure behind a number.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "reward/math/fraction.h"

namespace r1::math {

struct Unit {
  std::string_view dimension;  // "length^2", "time", ...
  Fraction scale;              // in the dimension's own unit
};

bool is_unit(std::string_view word);

// "square centimeters", "cm^2", "hours", "miles per hour", "m/s"; nothing for text that names no unit of measure
// known here ("apples").
std::optional<Unit> read_unit(std::string_view text);

}  // namespace r1::math
