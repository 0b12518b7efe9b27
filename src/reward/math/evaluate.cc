#include "reward/math/evaluate.h"

#include <cmath>
#include <string_view>

namespace r1::math {
namespace {

using Kind = Node::Kind;

Ratio value(Fraction number) {
  return {Poly(number), Fraction(1)};
}

const Ratio kOne{Fraction(1), Fraction(1)};

int small_constant(const Ratio& value, int most) {
  const auto constant = constant_of(value);
  if (!constant || !constant->is_integer() || constant->sign() < 0) throw NotEvaluated{"not_a_value"};
  const auto small = constant->num().small();
  if (!small || *small > most) throw NotEvaluated{"too_complex"};
  return static_cast<int>(*small);
}

Integer factorial(int n) {
  Integer out = 1;
  for (int i = 2; i <= n; ++i) out = out * Integer(i);
  return out;
}

Ratio binomial(int n, int k) {
  if (k > n) return value(0);
  return value(Fraction(factorial(n), factorial(k) * factorial(n - k)));
}

Ratio function_value(Algebra& algebra, const Node& node) {
  const std::string_view name = node.name;
  const Ratio argument = evaluate(algebra, node.kids[0]);
  if (node.kids.size() > 1) {
    if (name != "log") throw NotEvaluated{"not_a_value"};
    return algebra.divide(algebra.logarithm(argument), algebra.logarithm(evaluate(algebra, node.kids[1])));
  }
  if (name == "sin") return algebra.sine(argument);
  if (name == "cos") return algebra.cosine(argument);
  if (name == "tan") return algebra.divide(algebra.sine(argument), algebra.cosine(argument));
  if (name == "cot") return algebra.divide(algebra.cosine(argument), algebra.sine(argument));
  if (name == "sec") return algebra.divide(kOne, algebra.cosine(argument));
  if (name == "csc") return algebra.divide(kOne, algebra.sine(argument));
  if (name == "ln") return algebra.logarithm(argument);
  if (name == "log" || name == "lg")
    return algebra.divide(algebra.logarithm(argument), algebra.logarithm(value(10)));
  if (name == "exp") return algebra.power(Algebra::symbol("@e"), argument);
  return algebra.function(name, argument);
}

Ratio absolute_value(Algebra& algebra, const Ratio& inside) {
  if (const auto constant = constant_of(inside))
    return constant->sign() < 0 ? algebra.negate(inside) : inside;
  // The sign of a sum of radicals is that of its double, if the double is far enough from 0 for its error not
  // to matter.
  if (const auto about = approximate(inside); about && std::abs(*about) > 1e-6)
    return *about < 0 ? algebra.negate(inside) : inside;
  // |x| = |-x|, so the form whose text comes first is used for both.
  const Ratio negative = algebra.negate(inside);
  return algebra.function("abs", inside.num.text() < negative.num.text() ? inside : negative);
}

Ratio symbol_value(const std::string& name) {
  if (name == "π") return Algebra::symbol("@pi");
  if (name == "e") return Algebra::symbol("@e");
  if (name == "i") return Algebra::symbol("@i");
  return Algebra::symbol(name);
}

}  // namespace

Ratio evaluate(Algebra& algebra, const Node& node) {
  const auto kid = [&](size_t i) { return evaluate(algebra, node.kids[i]); };
  switch (node.kind) {
    case Kind::number:
      return value(node.number);
    case Kind::symbol:
      return symbol_value(node.name);
    case Kind::add: {
      Ratio sum = kid(0);
      for (size_t i = 1; i < node.kids.size(); ++i) sum = algebra.add(sum, kid(i));
      return sum;
    }
    case Kind::multiply: {
      Ratio product = kid(0);
      for (size_t i = 1; i < node.kids.size(); ++i) product = algebra.multiply(product, kid(i));
      return product;
    }
    case Kind::divide:
      return algebra.divide(kid(0), kid(1));
    case Kind::power:
      return algebra.power(kid(0), kid(1));
    case Kind::negate:
      return algebra.negate(kid(0));
    case Kind::root: {
      const Ratio degree = kid(1);
      return algebra.power(kid(0), algebra.divide(kOne, degree));
    }
    case Kind::function:
      return function_value(algebra, node);
    case Kind::factorial:
      return value(factorial(small_constant(kid(0), kMaxFactorial)));
    case Kind::absolute:
      return absolute_value(algebra, kid(0));
    case Kind::percent:
      return algebra.divide(kid(0), value(100));
    case Kind::degree:
      return algebra.multiply(kid(0), algebra.divide(Algebra::symbol("@pi"), value(180)));
    case Kind::binomial:
      return binomial(small_constant(kid(0), kMaxFactorial), small_constant(kid(1), kMaxFactorial));
    case Kind::base_number:
      if (node.number == Fraction(10)) return value(Fraction(Integer::from_digits(node.name)));
      break;
    default:
      break;
  }
  throw NotEvaluated{"not_a_value"};
}

}  // namespace r1::math
