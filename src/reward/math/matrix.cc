#include "reward/math/matrix.h"

#include <algorithm>
#include <string>
#include <utility>

namespace r1::math {
namespace {

using Kind = Node::Kind;

Node joined(Kind kind, Node a, Node b) {
  Node out;
  out.kind = kind;
  out.kids.push_back(std::move(a));
  out.kids.push_back(std::move(b));
  return out;
}

}  // namespace

bool has_matrix(const Node& node) {
  const bool joins = node.kind == Kind::add || node.kind == Kind::multiply || node.kind == Kind::negate ||
                     node.kind == Kind::divide;
  return node.kind == Kind::matrix || (joins && std::ranges::any_of(node.kids, has_matrix));
}

std::optional<Node> matrix_value(const Node& node) {
  if (node.kind == Kind::matrix) return node;
  if (!has_matrix(node)) return std::nullopt;
  if (node.kind == Kind::negate) {
    auto inside = matrix_value(node.kids[0]);
    if (!inside) return inside;
    for (Node& element : inside->kids) {
      Node negated;
      negated.kind = Kind::negate;
      negated.kids.push_back(std::move(element));
      element = std::move(negated);
    }
    return inside;
  }
  if (node.kind == Kind::divide) {
    auto top = has_matrix(node.kids[1]) ? std::nullopt : matrix_value(node.kids[0]);
    if (!top) return top;
    for (Node& element : top->kids) element = joined(Kind::divide, std::move(element), node.kids[1]);
    return top;
  }
  Node left = node.kids[0];
  for (size_t i = 1; i < node.kids.size(); ++i) {
    const Node& right = node.kids[i];
    if (!has_matrix(left) && !has_matrix(right)) {
      left = joined(node.kind, std::move(left), right);
      continue;
    }
    const auto a = matrix_value(left), b = matrix_value(right);
    if (node.kind == Kind::add) {
      if (!a || !b || a->name != b->name || a->kids.size() != b->kids.size()) return std::nullopt;
      left = *a;
      for (size_t k = 0; k < left.kids.size(); ++k) left.kids[k] = joined(Kind::add, a->kids[k], b->kids[k]);
    } else if (a && b) {
      const auto columns = static_cast<size_t>(std::stoi(b->name)),
                 inner = static_cast<size_t>(std::stoi(a->name));
      const size_t rows = a->kids.size() / inner;
      if (b->kids.size() != inner * columns || rows * columns > kMaxMatrix) return std::nullopt;
      Node product;
      product.kind = Kind::matrix;
      product.name = b->name;
      for (size_t r = 0; r < rows; ++r) {
        for (size_t c = 0; c < columns; ++c) {
          Node sum;
          sum.kind = Kind::add;
          for (size_t k = 0; k < inner; ++k)
            sum.kids.push_back(joined(Kind::multiply, a->kids[r * inner + k], b->kids[k * columns + c]));
          product.kids.push_back(std::move(sum));
        }
      }
      left = std::move(product);
    } else {
      Node product = a ? *a : b ? *b : Node();
      if (!a && !b) return std::nullopt;
      for (Node& element : product.kids)
        element = joined(Kind::multiply, a ? right : left, std::move(element));
      left = std::move(product);
    }
  }
  return left;
}

}  // namespace r1::math
