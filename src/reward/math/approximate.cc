// reward/math/approximate.cc: exact values as doubles.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

#include "reward/math/algebra.h"

namespace r1::math {
namespace {

double to_double(const Fraction& value) {
  // Both parts are reduced to at most 1000 bits, so that neither exceeds a double's range.
  Integer num = value.num(), den = value.den();
  const size_t bits = std::max(num.bits(), den.bits());
  if (bits > 1000) {
    const Integer scale = r1::power(Integer(2), static_cast<unsigned>(bits - 1000));
    num = quotient(num, scale);
    den = quotient(den, scale);
  }
  return std::stod(num.text()) / std::stod(den.text());
}

std::optional<double> approximate(const Poly& poly) {
  double sum = 0;
  for (const auto& [monomial, coefficient] : poly.terms()) {
    double term = to_double(coefficient);
    for (const Factor& f : monomial) {
      double base = 0;
      if (f.atom.starts_with('#')) base = to_double(Fraction(Integer::from_digits(f.atom.substr(1))));
      if (f.atom == "@pi") base = std::numbers::pi;
      if (f.atom == "@e") base = std::numbers::e;
      if (base == 0 && f.reduction && f.reduction->period == 1) {
        const auto inside = approximate(*f.reduction->value);
        if (!inside || *inside <= 0) return std::nullopt;
        base = *inside;
      }
      if (base == 0) return std::nullopt;
      term *= std::pow(base, static_cast<double>(f.num) / static_cast<double>(f.den));
    }
    sum += term;
  }
  return sum;
}

}  // namespace

std::optional<double> approximate(const Ratio& value) {
  const auto num = approximate(value.num), den = approximate(value.den);
  if (!num || !den || *den == 0) return std::nullopt;
  return *num / *den;
}

}  // namespace r1::math
