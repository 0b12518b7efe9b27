// reward/math/evaluate.h: the exact value of a tree of notation.h.
#pragma once

#include "reward/math/algebra.h"
#include "reward/math/notation.h"

namespace r1::math {

inline constexpr int kMaxFactorial = 500;  // 500! has 3,768 bits

// Returns the node's value. Units are ignored, a percent sign divides by 100, and a degree is pi / 180.
// Throws NotEvaluated with not_a_value for sets, tuples, relations, text and infinity.
Ratio evaluate(Algebra& algebra, const Node& node);

}  // namespace r1::math
