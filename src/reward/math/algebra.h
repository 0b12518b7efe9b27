// reward/math/algebra.h: exact values of mathematical expressions, in a form in which equality can be
// decided.
//
// A Poly is a sum of terms. A term is a fraction times a product of atoms with rational exponents. Atoms are
// primes (with exponents between 0 and 1, which are radicals), pi, e, i, variables, and values that have no
// better form: roots of sums, powers with an exponent that is not a number, sines, cosines and logarithms. A
// Ratio is one Poly over another.
//
// Equality is exact: a/b = c/d if a d - b c has no term left. For radicals of integers this decides equality
// in both directions, because products of different roots of primes are linearly independent over the
// rationals (Besicovitch 1940). The same holds for variables and for pi, which is transcendental. Relations
// between other atoms that are not known here (sin(2 x) and sin x, or a root that has a simpler form) can
// only make equal values look different, never different values equal. Variables stand for positive numbers:
// sqrt(x^2) is x.
//
// Work is bounded. Every operation draws on a budget; an operation that exceeds it or kMaxBits throws
// NotEvaluated.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reward/math/fraction.h"

namespace r1::math {

inline constexpr size_t kMaxBits = 8192;  // per coefficient
inline constexpr int kMaxExponent = 4096;

// Thrown if an expression has no value here. `why` is a literal: too_complex, division_by_zero or
// not_a_value.
struct NotEvaluated {
  std::string_view why;
};

class Poly;

// An atom for which atom^period equals a Poly: for sin(x), sin(x)^2 = 1 - cos(x)^2; for the root of a sum,
// the sum.
struct Reduction {
  int period = 1;
  std::shared_ptr<const Poly> value;
};

struct Factor {
  std::string atom;  // "#7" is the prime 7; "@pi", "@e", "@i", "x", "sin(...)", "(...)", "2^(...)"
  int64_t num = 1;   // the exponent in lowest terms; not 0
  int64_t den = 1;
  std::shared_ptr<const Reduction> reduction;

  std::strong_ordering operator<=>(const Factor& other) const;
  bool operator==(const Factor& other) const { return (*this <=> other) == 0; }
};

using Monomial = std::vector<Factor>;  // sorted by atom, each atom once

class Poly {
 public:
  Poly() = default;
  Poly(const Fraction& value);
  Poly(Monomial monomial, const Fraction& coefficient);

  bool is_zero() const { return terms_.empty(); }
  const std::map<Monomial, Fraction>& terms() const { return terms_; }
  std::optional<Fraction> constant() const;  // the value if it has no atoms
  void add(const Monomial& monomial, const Fraction& coefficient);
  std::string text() const;  // equal for equal Polys only
  bool operator==(const Poly&) const = default;

 private:
  std::map<Monomial, Fraction> terms_;
};

struct Ratio {
  Poly num;
  Poly den = Fraction(1);
};

class Algebra {
 public:
  explicit Algebra(int64_t budget = 20'000) : budget_(budget) {}

  Poly add(const Poly& a, const Poly& b, const Fraction& scale_of_b = 1);
  Poly multiply(const Poly& a, const Poly& b);
  Poly power(const Poly& base, int exponent);  // exponent >= 0

  Ratio add(const Ratio& a, const Ratio& b);
  Ratio subtract(const Ratio& a, const Ratio& b);
  Ratio multiply(const Ratio& a, const Ratio& b);
  Ratio divide(const Ratio& a, const Ratio& b);
  Ratio negate(const Ratio& a);
  Ratio power(const Ratio& base, const Ratio& exponent);
  Ratio logarithm(const Ratio& value);  // natural
  Ratio sine(const Ratio& angle);
  Ratio cosine(const Ratio& angle);
  Ratio function(std::string_view name, const Ratio& argument);  // a function without known rules

  bool equal(const Ratio& a, const Ratio& b);
  // Returns the fraction c with a = c b, or nothing if there is none or b is 0.
  std::optional<Fraction> factor_between(const Ratio& a, const Ratio& b);

  static Ratio symbol(std::string atom);

 private:
  void spend(int64_t steps);
  void check(const Fraction& value);
  // Adds coefficient times the product of the factors, with each factor in its normal form.
  void add_product(Poly& sum, std::vector<Factor> factors, Fraction coefficient);
  Ratio rational_power(const Ratio& base, int64_t num, int64_t den);
  Ratio root_of(const Poly& value, int64_t num, int64_t den);
  std::optional<Poly> denested_root(const Poly& value);
  Monomial prime_factors(const Integer& value, int64_t num, int64_t den);
  Ratio simplified(Poly num, Poly den);

  int64_t budget_;
};

// Returns the value as a double if all its atoms are primes, pi or e.
std::optional<double> approximate(const Ratio& value);
std::optional<Fraction> constant_of(const Ratio& value);

}  // namespace r1::math
