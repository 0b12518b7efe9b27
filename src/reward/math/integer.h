// reward/math/integer.h: integers of any size, for exact arithmetic on what a model wrote.
//
// The caller bounds the size: check bits() before a product or a power. Values of up to 128 bits are stored
// in place. The arithmetic is Boost.Multiprecision's cpp_int, whose header is included in integer.cc only.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace r1 {

class Integer {
 public:
  Integer() : Integer(int64_t{0}) {}
  Integer(int64_t value);
  Integer(int value) : Integer(static_cast<int64_t>(value)) {}
  Integer(const Integer& other);
  Integer(Integer&& other) noexcept;
  Integer& operator=(const Integer& other);
  Integer& operator=(Integer&& other) noexcept;
  ~Integer();

  // `digits` has one or more characters 0-9. Leading zeros are allowed.
  static Integer from_digits(std::string_view digits);

  friend Integer operator+(const Integer& a, const Integer& b);
  friend Integer operator-(const Integer& a, const Integer& b);
  friend Integer operator*(const Integer& a, const Integer& b);
  Integer operator-() const;
  friend bool operator==(const Integer& a, const Integer& b);
  friend std::strong_ordering operator<=>(const Integer& a, const Integer& b);

  int sign() const;     // -1, 0 or 1
  size_t bits() const;  // of the magnitude; 0 bits for 0
  Integer magnitude() const { return sign() < 0 ? -*this : *this; }
  // Returns nothing if the value does not fit.
  std::optional<int64_t> small() const;
  std::string text() const;  // decimal, with "-" for a negative value

 private:
  friend Integer quotient(const Integer& a, const Integer& b);
  friend Integer remainder(const Integer& a, const Integer& b);
  friend Integer greatest_common_divisor(const Integer& a, const Integer& b);
  friend Integer power(const Integer& base, unsigned exponent);
  friend Integer floor_square_root(const Integer& value);

  struct Access;
  alignas(16) std::byte storage_[32];
};

// Division truncates towards 0. b must not be 0.
Integer quotient(const Integer& a, const Integer& b);
Integer remainder(const Integer& a, const Integer& b);
Integer greatest_common_divisor(const Integer& a, const Integer& b);  // not negative
// The result has at most base.bits() * exponent bits. The caller must bound that.
Integer power(const Integer& base, unsigned exponent);
Integer floor_square_root(const Integer& value);            // value must be >= 0
Integer floor_root(const Integer& value, unsigned degree);  // value must be >= 0, degree >= 1

}  // namespace r1
