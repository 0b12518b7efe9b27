// reward/math/algebra.h: exact values of mathematical expressions, in a form in which equality can be decided.
//
// A Poly is a sum of terms: a fraction times a product of atoms with rational exponents. Atoms are primes (with
// exponents between 0 and 1: radicals), pi, e, i, variables, and what has no better form: roots of sums, powers
// with an exponent that is no number, sin, cos and logarithms. A Ratio is one Poly over another.
//
// Equality is exact: a/b = c/d if a d - b c has no term left. For radicals of integers that is a decision in both
// directions (products of different roots of primes are linearly independent over the rationals, Besicovitch
// 1940), for variables too, and pi is transcendental. Unknown relations between other atoms (sin(2 x) and sin x,
// a root that has a simpler form) only make equal values look different, never different ones equal. Variables
// stand for positive numbers: sqrt(x^2) is x.
//
// Work is bounded: every operation draws on a budget, and what exceeds it or kMaxBits raises NotEvaluated.
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

inline constexpr size_t kMaxBits = 8192;  // of a coefficient
inline constexpr int kMaxExponent = 4096;

// Why an expression has no value here; a literal: too_complex, division_by_zero, not_a_value.
struct NotEvaluated {
  std::string_view why;
};

class Poly;

// An atom for which atom^period is a Poly: of sin(x), sin^2 = 1 - cos^2; of a root of a sum, the sum.
struct Reduction {
  int period = 1;
  std::shared_ptr<const Poly> value;
};

struct Factor {
  std::string atom;  // "#7" the prime 7, "@pi", "@e", "@i", "x", "sin(...)", "(...)", "2^(...)"
  int64_t num = 1;   // the exponent, in lowest terms, not 0
  int64_t den = 1;
  std::shared_ptr<const Reduction> reduction;

  std::strong_ordering operator<=>(const Factor& other) const;
  bool operator==(const Factor& other) const { return (*this <=> other) == 0; }
};

using Monomial = std::vector<Factor>;  // by atom, each once

class Poly {
 public:
  Poly() = default;
  Poly(const Fraction& value);
  Poly(Monomial monomial, const Fraction& coefficient);

  bool is_zero() const { return terms_.empty(); }
  const std::map<Monomial, Fraction>& terms() const { return terms_; }
  std::optional<Fraction> constant() const;  // its value if there is no atom in it
  void add(const Monomial& monomial, const Fraction& coefficient);
  std::string text() const;  // the same for equal Polys, and only for these
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
  Ratio function(std::string_view name, const Ratio& argument);  // of which nothing is known

  bool equal(const Ratio& a, const Ratio& b);
  // c with a = c b for a fraction c; nothing if there is none, or if b is 0.
  std::optional<Fraction> factor_between(const Ratio& a, const Ratio& b);

  static Ratio symbol(std::string atom);

 private:
  void spend(int64_t steps);
  void check(const Fraction& value);
  // Adds coefficient times the product of the factors, each brought into its form.
  void add_product(Poly& sum, std::vector<Factor> factors, Fraction coefficient);
  Ratio rational_power(const Ratio& base, int64_t num, int64_t den);
  Ratio root_of(const Poly& value, int64_t num, int64_t den);
  std::optional<Poly> denested_root(const Poly& value);
  Monomial prime_factors(const Integer& value, int64_t num, int64_t den);
  Ratio simplified(Poly num, Poly den);

  int64_t budget_;
};

// The value as a number, if every atom of it is a prime, pi or e.
std::optional<double> approximate(const Ratio& value);
std::optional<Fraction> constant_of(const Ratio& value);

}  // namespace r1::math
