// reward/math/fraction.h: exact fractions of integers of any size (data/rational.h has fractions of 63-bit
// integers).
#pragma once

#include <compare>
#include <string>

#include "data/rational.h"
#include "reward/math/integer.h"

namespace r1 {

// A fraction in lowest terms with den >= 1, so == compares values.
class Fraction {
 public:
  Fraction() = default;
  Fraction(int64_t value) : num_(value) {}
  Fraction(int value) : num_(value) {}
  Fraction(Integer value) : num_(std::move(value)) {}
  Fraction(const Rational& value) : num_(value.num), den_(value.den) {}
  Fraction(Integer num, Integer den);  // den must not be 0

  const Integer& num() const { return num_; }
  const Integer& den() const { return den_; }
  bool is_integer() const { return den_ == Integer(1); }
  bool is_zero() const { return num_.sign() == 0; }
  int sign() const { return num_.sign(); }
  size_t bits() const {
    return num_.bits() + den_.bits();
  }  // bounds the cost of an operation and the size of its result

  Fraction operator-() const;
  friend Fraction operator+(const Fraction& a, const Fraction& b);
  friend Fraction operator-(const Fraction& a, const Fraction& b);
  friend Fraction operator*(const Fraction& a, const Fraction& b);
  friend Fraction operator/(const Fraction& a, const Fraction& b);  // b must not be 0
  friend bool operator==(const Fraction& a, const Fraction& b) = default;
  friend std::strong_ordering operator<=>(const Fraction& a, const Fraction& b);

  std::string text() const;  // "7", "-7/2"

 private:
  Integer num_ = 0;
  Integer den_ = 1;
};

// Returns value^exponent. The caller must bound value.bits() * |exponent|. If the exponent is negative, value
// must not be 0.
Fraction power(const Fraction& value, int exponent);

}  // namespace r1
