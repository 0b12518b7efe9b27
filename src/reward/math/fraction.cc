#include "reward/math/fraction.h"

#include <cstdlib>
#include <utility>

#include "base/error.h"

namespace r1 {

Fraction::Fraction(Integer num, Integer den) : num_(std::move(num)), den_(std::move(den)) {
  R1_CHECK(den_.sign() != 0, "a fraction over 0");
  if (den_.sign() < 0) {
    num_ = -num_;
    den_ = -den_;
  }
  if (den_ == Integer(1)) return;
  const Integer common = greatest_common_divisor(num_, den_);
  if (common == Integer(1)) return;
  num_ = quotient(num_, common);
  den_ = quotient(den_, common);
}

Fraction Fraction::operator-() const {
  Fraction out = *this;
  out.num_ = -out.num_;
  return out;
}

Fraction operator+(const Fraction& a, const Fraction& b) {
  if (a.is_integer() && b.is_integer()) return Fraction(a.num_ + b.num_);
  return Fraction(a.num_ * b.den_ + b.num_ * a.den_, a.den_ * b.den_);
}
Fraction operator-(const Fraction& a, const Fraction& b) {
  return a + -b;
}
Fraction operator*(const Fraction& a, const Fraction& b) {
  if (a.is_integer() && b.is_integer()) return Fraction(a.num_ * b.num_);
  return Fraction(a.num_ * b.num_, a.den_ * b.den_);
}
Fraction operator/(const Fraction& a, const Fraction& b) {
  return Fraction(a.num_ * b.den_, a.den_ * b.num_);
}
std::strong_ordering operator<=>(const Fraction& a, const Fraction& b) {
  return a.num_ * b.den_ <=> b.num_ * a.den_;
}

std::string Fraction::text() const {
  return is_integer() ? num_.text() : num_.text() + "/" + den_.text();
}

Fraction power(const Fraction& value, int exponent) {
  const auto n = static_cast<unsigned>(std::abs(exponent));
  const Integer num = power(value.num(), n), den = power(value.den(), n);
  return exponent < 0 ? Fraction(den, num) : Fraction(num, den);
}

}  // namespace r1
