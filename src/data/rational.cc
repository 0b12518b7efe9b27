#include "data/rational.h"

#include <fmt/format.h>

#include <limits>
#include <numeric>

#include "base/error.h"

namespace r1 {
namespace {

// Products of two 63-bit operands have 126 bits, and the sum of two such products 127: nothing below
// overflows.
using Wide = __int128;

Wide gcd(Wide a, Wide b) {
  if (a < 0) a = -a;
  if (b < 0) b = -b;
  while (b > std::numeric_limits<int64_t>::max() || a > std::numeric_limits<int64_t>::max()) {
    if (b == 0) return a;
    const Wide rest = a % b;
    a = b;
    b = rest;
  }
  return std::gcd(static_cast<int64_t>(a), static_cast<int64_t>(b));
}

std::optional<Rational> reduce(Wide num, Wide den) {
  if (den == 0) return std::nullopt;
  if (den < 0) {
    num = -num;
    den = -den;
  }
  if (const Wide common = gcd(num, den); common > 1) {
    num /= common;
    den /= common;
  }
  constexpr Wide kMax = std::numeric_limits<int64_t>::max();
  if (num > kMax || num < -kMax || den > kMax) return std::nullopt;
  return Rational{static_cast<int64_t>(num), static_cast<int64_t>(den)};
}

}  // namespace

std::optional<Rational> apply_operator(char op, const Rational& a, const Rational& b) {
  const Wide an = a.num, ad = a.den, bn = b.num, bd = b.den;
  switch (op) {
    case '+':
      return reduce(an * bd + bn * ad, ad * bd);
    case '-':
      return reduce(an * bd - bn * ad, ad * bd);
    case '*':
      return reduce(an * bn, ad * bd);
    case '/':
      return reduce(an * bd, ad * bn);
    default:
      R1_CHECK(false, "operator ", op);
  }
  return std::nullopt;
}

std::string to_text(const Rational& value) {
  return value.den == 1 ? std::to_string(value.num) : fmt::format("{}/{}", value.num, value.den);
}

}  // namespace r1
