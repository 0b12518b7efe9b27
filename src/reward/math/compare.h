// reward/math/compare.h: do two answers in mathematical notation say the same?
//
// - Numbers and expressions: equal values (algebra.h). Sets and lists without brackets: the same elements in any
//   order; tuples: in order; intervals: their brackets too. x pm y is two values. A list without brackets may answer
//   a tuple in ( ) in its order.
// - "x = 5" answers "5" and the other way round, if the left side is a name; two named values must have one name.
//   Equations and inequalities are compared by both sides' difference, up to a factor (for an inequality a
//   positive one). "x >= 5" answers [5, oo).
// - A unit may be left out on either side; two units of measure must agree, in value: 100 cm is 1 m, and not 100 m.
// - Percent: 50% is 50% and 0.5. The sign may also be left out for a gold 50%, and with percent_is_a_unit it may be
//   added to an answer to a gold above 1: 50% answers 50, but 0.5% does not answer 0.5.
// - A number in another base (1012_3) is met by the same digits with the same base.
#pragma once

#include <string>
#include <string_view>

#include "reward/math/algebra.h"
#include "reward/math/notation.h"

namespace r1::math {

struct CompareOptions {
  bool percent_is_a_unit = true;
  int decimals = -1;  // >= 0: real values may differ by half a unit of this decimal
};

// Letters and digits in lower case with one blank between words, without an article in front: "The Red Fox." is "red
// fox".
std::string words_of(std::string_view text);

// "ok", wrong_value, wrong_kind (a set against a number), wrong_unit, or NotEvaluated's reason. A literal.
std::string_view compare(const Node& gold, const Node& answer, const CompareOptions& options = {});

}  // namespace r1::math
