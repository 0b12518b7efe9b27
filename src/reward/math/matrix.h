// reward/math/matrix.h: sums, products and multiples of matrices, element by element.
#pragma once

#include <optional>

#include "reward/math/notation.h"

namespace r1::math {

inline constexpr size_t kMaxMatrix = 144;  // the most elements of a product

// Returns true if the node is a matrix, or a sum or a product that has one.
bool has_matrix(const Node& node);

// Returns the node as one matrix, whose elements are unevaluated expressions. Returns nothing if the node has
// no matrix, if the shapes do not fit, or if a product has more than kMaxMatrix elements.
std::optional<Node> matrix_value(const Node& node);

}  // namespace r1::math
