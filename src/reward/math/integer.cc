#include "reward/math/integer.h"

#include <boost/multiprecision/cpp_int.hpp>
#include <limits>
#include <new>

namespace r1 {
namespace {

using Big = boost::multiprecision::cpp_int;

}  // namespace

struct Integer::Access {
  static_assert(sizeof(Big) <= sizeof(Integer::storage_) && alignof(Big) <= 16);

  static Big& of(Integer& value) { return *std::launder(reinterpret_cast<Big*>(value.storage_)); }
  static const Big& of(const Integer& value) {
    return *std::launder(reinterpret_cast<const Big*>(value.storage_));
  }
  static Integer make(Big&& value) {
    Integer out;
    of(out) = std::move(value);
    return out;
  }
};

Integer::Integer(int64_t value) {
  new (storage_) Big(value);
}
Integer::Integer(const Integer& other) {
  new (storage_) Big(Access::of(other));
}
Integer::Integer(Integer&& other) noexcept {
  new (storage_) Big(std::move(Access::of(other)));
}
Integer& Integer::operator=(const Integer& other) {
  Access::of(*this) = Access::of(other);
  return *this;
}
Integer& Integer::operator=(Integer&& other) noexcept {
  Access::of(*this) = std::move(Access::of(other));
  return *this;
}
Integer::~Integer() {
  Access::of(*this).~Big();
}

Integer Integer::from_digits(std::string_view digits) {
  Big value = 0;
  constexpr size_t kChunk = 18;  // 10^18 < 2^63
  for (size_t at = 0; at < digits.size(); at += kChunk) {
    int64_t chunk = 0, scale = 1;
    for (const char c : digits.substr(at, kChunk)) {
      chunk = chunk * 10 + (c - '0');
      scale *= 10;
    }
    value = value * scale + chunk;
  }
  return Access::make(std::move(value));
}

Integer operator+(const Integer& a, const Integer& b) {
  return Integer::Access::make(Integer::Access::of(a) + Integer::Access::of(b));
}
Integer operator-(const Integer& a, const Integer& b) {
  return Integer::Access::make(Integer::Access::of(a) - Integer::Access::of(b));
}
Integer operator*(const Integer& a, const Integer& b) {
  return Integer::Access::make(Integer::Access::of(a) * Integer::Access::of(b));
}
Integer Integer::operator-() const {
  return Access::make(-Access::of(*this));
}
bool operator==(const Integer& a, const Integer& b) {
  return Integer::Access::of(a) == Integer::Access::of(b);
}
std::strong_ordering operator<=>(const Integer& a, const Integer& b) {
  return Integer::Access::of(a).compare(Integer::Access::of(b)) <=> 0;
}

int Integer::sign() const {
  return Access::of(*this).sign();
}

size_t Integer::bits() const {
  const Big& value = Access::of(*this);
  if (value.is_zero()) return 0;
  return static_cast<size_t>(boost::multiprecision::msb(value < 0 ? Big(-value) : value)) + 1;
}

std::optional<int64_t> Integer::small() const {
  const Big& value = Access::of(*this);
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  if (value > kMost || value < -kMost) return std::nullopt;
  return static_cast<int64_t>(value);
}

std::string Integer::text() const {
  return Access::of(*this).str();
}

Integer quotient(const Integer& a, const Integer& b) {
  return Integer::Access::make(Integer::Access::of(a) / Integer::Access::of(b));
}
Integer remainder(const Integer& a, const Integer& b) {
  return Integer::Access::make(Integer::Access::of(a) % Integer::Access::of(b));
}
Integer greatest_common_divisor(const Integer& a, const Integer& b) {
  return Integer::Access::make(boost::multiprecision::gcd(Integer::Access::of(a), Integer::Access::of(b)));
}
Integer power(const Integer& base, unsigned exponent) {
  return Integer::Access::make(boost::multiprecision::pow(Integer::Access::of(base), exponent));
}
Integer floor_square_root(const Integer& value) {
  return Integer::Access::make(boost::multiprecision::sqrt(Integer::Access::of(value)));
}

Integer floor_root(const Integer& value, unsigned degree) {
  if (degree == 1 || value.bits() <= 1) return value;
  if (degree == 2) return floor_square_root(value);
  // Sets the root bit by bit from the top. It has at most ceil(bits / degree) bits.
  Integer root = 0;
  for (size_t bit = (value.bits() + degree - 1) / degree; bit-- > 0;) {
    const Integer next = root + power(2, static_cast<unsigned>(bit));
    if (power(next, degree) <= value) root = next;
  }
  return root;
}

}  // namespace r1
