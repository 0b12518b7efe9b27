// reward/math/fraction.h: exact fractions of integers of any size (data/rational.h has those of 63 bits).
#pragma once

#include <compare>
#include <string>

#include "data/rational.h"
#include "reward/math/integer.h"

namespace r1 {

// In lowest terms, den >= 1, so == is equality of values.
class Fraction {
 public:
  Fraction() = default;
  Fraction(int64_t value) : num_(value) {}
  Fraction(int value) : num_(value) {}
  Fraction(Integer value) : num_(std::move(value)) {}
  Fraction(const Rational& value) : num_(value.num), den_(value.den) {}
  Fraction(Integer num, Integer den);  // den is not 0

  const Integer& num() const { return num_; }
  const Integer& den() const { return den_; }
  bool is_integer() const { return den_ == Integer(1); }
  bool is_zero() const { return num_.sign() == 0; }
  int sign() const { return num_.sign(); }
  size_t bits() const {
    return num_.bits() + den_.bits();
  }  // what an operation costs and its result can have

  Fraction operator-() const;
  friend Fraction operator+(const Fraction& a, const Fraction& b);
  friend Fraction operator-(const Fraction& a, const Fraction& b);
  friend Fraction operator*(const Fraction& a, const Fraction& b);
  friend Fraction operator/(const Fraction& a, const Fraction& b);  // b is not 0
  friend bool operator==(const Fraction& a, const Fraction& b) = default;
  friend std::strong_ordering operator<=>(const Fraction& a, const Fraction& b);

  std::string text() const;  // "7", "-7/2"

 private:
  Integer num_ = 0;
  Integer den_ = 1;
};

// value^exponent; a negative exponent needs a value that is not 0. Bound value.bits() * |exponent| first.
Fraction power(const Fraction& value, int exponent);

}  // namespace r1
