// reward/math/compare.h: decides whether two answers in mathematical notation mean the same.
//
// - Numbers and expressions must have equal values (algebra.h). Sets, and lists without brackets, must have
// the same
//   elements in any order. Tuples must have them in order, and intervals must have the same brackets too. x pm y is
//   two values. A list without brackets may answer a tuple in ( ) if its order is the tuple's.
// - "x = 5" answers "5" and the other way round, if the left side is a name. If both have a name, it must be
// the same.
//   Equations and inequalities are compared by the difference of their sides, up to a factor, which must be positive
//   for an inequality. "x >= 5" answers [5, oo).
// - A unit may be missing on either side. Two units of measure must agree in value: 100 cm is 1 m, but not
// 100 m.
// - 50% equals 50% and 0.5. For the gold 50%, the sign may also be left out. With percent_is_a_unit, a sign
// may be
//   added in an answer to a gold above 1: 50% answers 50, but 0.5% does not answer 0.5.
// - A number in another base (1012_3) is answered by the same digits with the same base.
#pragma once

#include <string>
#include <string_view>

#include "reward/math/algebra.h"
#include "reward/math/notation.h"

namespace r1::math {

struct CompareOptions {
  bool percent_is_a_unit = true;
  int decimals = -1;  // if >= 0, real values may differ by half a unit of this decimal
};

// Returns the letters and digits in lower case, with one blank between words and without a leading article:
// "The Red Fox." becomes "red fox".
std::string words_of(std::string_view text);

// Returns a literal: "ok", wrong_value, wrong_kind (for example a set against a number), wrong_unit, or the
// reason of a NotEvaluated.
std::string_view compare(const Node& gold, const Node& answer, const CompareOptions& options = {});

}  // namespace r1::math
