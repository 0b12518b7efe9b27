#include "reward/math/algebra.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "base/error.h"

namespace r1::math {
namespace {

constexpr size_t kMaxTerms = 400;
constexpr std::string_view kI = "@i", kPi = "@pi", kE = "@e";

bool is_prime_atom(std::string_view atom) {
  return atom.starts_with('#');
}

std::string exponent_text(const Factor& f) {
  if (f.num == 1 && f.den == 1) return "";
  return f.den == 1 ? "^" + std::to_string(f.num)
                    : "^(" + std::to_string(f.num) + "/" + std::to_string(f.den) + ")";
}

int64_t floor_divide(int64_t a, int64_t b) {
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

void set_exponent(Factor& f, int64_t num, int64_t den) {
  const int64_t common = std::gcd(num, den);
  f.num = num / common;
  f.den = den / common;
}

void add_exponent(Factor& f, const Factor& other) {
  if (f.den > kMaxExponent || other.den > kMaxExponent || std::abs(f.num) > (1 << 24) ||
      std::abs(other.num) > (1 << 24))
    throw NotEvaluated{"too_complex"};
  set_exponent(f, f.num * other.den + other.num * f.den, f.den * other.den);
}

Factor factor_of(std::string atom, int64_t num = 1, int64_t den = 1,
                 std::shared_ptr<const Reduction> reduction = {}) {
  Factor f{.atom = std::move(atom), .reduction = std::move(reduction)};
  set_exponent(f, num, den);
  return f;
}

const Fraction& only_coefficient(const Poly& poly) {
  return poly.terms().begin()->second;
}

}  // namespace

std::strong_ordering Factor::operator<=>(const Factor& other) const {
  if (const int order = atom.compare(other.atom); order != 0) return order <=> 0;
  return num * other.den <=> other.num * den;
}

Poly::Poly(const Fraction& value) {
  add({}, value);
}

Poly::Poly(Monomial monomial, const Fraction& coefficient) {
  if (!coefficient.is_zero()) terms_.emplace(std::move(monomial), coefficient);
}

std::optional<Fraction> Poly::constant() const {
  if (terms_.empty()) return Fraction(0);
  if (terms_.size() > 1 || !terms_.begin()->first.empty()) return std::nullopt;
  return terms_.begin()->second;
}

void Poly::add(const Monomial& monomial, const Fraction& coefficient) {
  if (coefficient.is_zero()) return;
  const auto [at, is_new] = terms_.try_emplace(monomial, coefficient);
  if (is_new) return;
  at->second = at->second + coefficient;
  if (at->second.is_zero()) terms_.erase(at);
}

std::string Poly::text() const {
  std::string out;
  for (const auto& [monomial, coefficient] : terms_) {
    if (!out.empty()) out += '+';
    out += coefficient.text();
    for (const Factor& f : monomial) out += '*' + f.atom + exponent_text(f);
  }
  return out.empty() ? "0" : out;
}

void Algebra::spend(int64_t steps) {
  budget_ -= steps;
  if (budget_ < 0) throw NotEvaluated{"too_complex"};
}

void Algebra::check(const Fraction& value) {
  const size_t bits = value.bits();
  if (bits > kMaxBits) throw NotEvaluated{"too_complex"};
  spend(1 + static_cast<int64_t>(bits / 256));
}

void Algebra::add_product(Poly& sum, std::vector<Factor> factors, Fraction coefficient) {
  Poly expanded = Fraction(1);
  bool expands = false;
  Monomial monomial;
  for (Factor& f : factors) {
    if (f.num == 0) continue;
    if (is_prime_atom(f.atom)) {
      if (const int64_t whole = floor_divide(f.num, f.den); whole != 0) {
        if (std::abs(whole) > kMaxExponent) throw NotEvaluated{"too_complex"};
        const Integer prime = Integer::from_digits(std::string_view(f.atom).substr(1));
        if (prime.bits() * static_cast<size_t>(std::abs(whole)) > kMaxBits) throw NotEvaluated{"too_complex"};
        coefficient = coefficient * r1::power(Fraction(prime), static_cast<int>(whole));
        check(coefficient);
        f.num -= whole * f.den;
        if (f.num == 0) continue;
      }
    } else if (f.atom == kI) {
      if (f.den != 1) throw NotEvaluated{"not_a_value"};
      const int64_t rest = ((f.num % 4) + 4) % 4;
      if (rest >= 2) coefficient = -coefficient;
      if (rest % 2 == 0) continue;
      f.num = 1;
    } else if (f.reduction) {
      const int64_t period = f.reduction->period, whole = floor_divide(f.num, f.den * period);
      R1_CHECK(whole >= 0, "a negative power of ", f.atom, " outside of a denominator");
      if (whole > 0) {
        if (whole > kMaxExponent) throw NotEvaluated{"too_complex"};
        expanded = multiply(expanded, power(*f.reduction->value, static_cast<int>(whole)));
        expands = true;
        f.num -= whole * period * f.den;
        if (f.num == 0) continue;
      }
    }
    monomial.push_back(std::move(f));
  }
  spend(1 + static_cast<int64_t>(monomial.size()));
  if (!expands) {
    sum.add(monomial, coefficient);
    return;
  }
  const Poly product = multiply(expanded, Poly(std::move(monomial), coefficient));
  for (const auto& [m, c] : product.terms()) sum.add(m, c);
}

Poly Algebra::add(const Poly& a, const Poly& b, const Fraction& scale_of_b) {
  Poly out = a;
  for (const auto& [monomial, coefficient] : b.terms()) {
    const Fraction scaled = coefficient * scale_of_b;
    check(scaled);
    out.add(monomial, scaled);
  }
  if (out.terms().size() > kMaxTerms) throw NotEvaluated{"too_complex"};
  return out;
}

Poly Algebra::multiply(const Poly& a, const Poly& b) {
  Poly out;
  for (const auto& [ma, ca] : a.terms()) {
    for (const auto& [mb, cb] : b.terms()) {
      if (ca.bits() + cb.bits() > 2 * kMaxBits) throw NotEvaluated{"too_complex"};
      const Fraction coefficient = ca * cb;
      check(coefficient);
      std::vector<Factor> factors;
      factors.reserve(ma.size() + mb.size());
      auto x = ma.begin();
      auto y = mb.begin();
      while (x != ma.end() || y != mb.end()) {
        if (y == mb.end() || (x != ma.end() && x->atom < y->atom)) {
          factors.push_back(*x++);
        } else if (x == ma.end() || y->atom < x->atom) {
          factors.push_back(*y++);
        } else {
          factors.push_back(*x++);
          add_exponent(factors.back(), *y++);
        }
      }
      add_product(out, std::move(factors), coefficient);
      if (out.terms().size() > kMaxTerms) throw NotEvaluated{"too_complex"};
    }
  }
  return out;
}

Poly Algebra::power(const Poly& base, int exponent) {
  if (exponent > kMaxExponent) throw NotEvaluated{"too_complex"};
  if (const auto value = base.constant()) {
    if (value->bits() * static_cast<size_t>(exponent) > 2 * kMaxBits) throw NotEvaluated{"too_complex"};
    const Fraction out = r1::power(*value, exponent);
    check(out);
    return out;
  }
  Poly out = Fraction(1), square = base;
  for (int rest = exponent; rest > 0; rest /= 2) {
    if (rest % 2 == 1) out = multiply(out, square);
    if (rest > 1) square = multiply(square, square);
  }
  return out;
}

// Makes the denominator 1 if it is one term of invertible atoms. Otherwise its first coefficient becomes 1.
Ratio Algebra::simplified(Poly num, Poly den) {
  if (den.is_zero()) throw NotEvaluated{"division_by_zero"};
  if (num.is_zero()) return {};
  if (den.terms().size() > 1 || std::ranges::any_of(den.terms().begin()->first,
                                                    [](const Factor& f) { return f.reduction != nullptr; })) {
    const Fraction first = only_coefficient(den);
    if (first == Fraction(1)) return {std::move(num), std::move(den)};
    const Poly scale = Fraction(1) / first;
    return {multiply(num, scale), multiply(den, scale)};
  }
  const auto& [monomial, coefficient] = *den.terms().begin();
  if (monomial.empty() && coefficient == Fraction(1)) return {std::move(num), Fraction(1)};
  std::vector<Factor> inverse = monomial;
  for (Factor& f : inverse) f.num = -f.num;
  Poly inverted;
  add_product(inverted, std::move(inverse), Fraction(1) / coefficient);
  return {multiply(num, inverted), Fraction(1)};
}

Ratio Algebra::add(const Ratio& a, const Ratio& b) {
  if (a.den == b.den) return simplified(add(a.num, b.num), a.den);
  return simplified(add(multiply(a.num, b.den), multiply(b.num, a.den)), multiply(a.den, b.den));
}
Ratio Algebra::subtract(const Ratio& a, const Ratio& b) {
  return add(a, negate(b));
}
Ratio Algebra::multiply(const Ratio& a, const Ratio& b) {
  return simplified(multiply(a.num, b.num), multiply(a.den, b.den));
}
Ratio Algebra::divide(const Ratio& a, const Ratio& b) {
  if (b.num.is_zero()) throw NotEvaluated{"division_by_zero"};
  return simplified(multiply(a.num, b.den), multiply(a.den, b.num));
}
Ratio Algebra::negate(const Ratio& a) {
  return {multiply(a.num, Poly(Fraction(-1))), a.den};
}

bool Algebra::equal(const Ratio& a, const Ratio& b) {
  if (a.den == b.den) return a.num == b.num;
  return add(multiply(a.num, b.den), multiply(b.num, a.den), -1).is_zero();
}

std::optional<Fraction> Algebra::factor_between(const Ratio& a, const Ratio& b) {
  const Poly x = multiply(a.num, b.den), y = multiply(b.num, a.den);
  if (x.terms().size() != y.terms().size() || y.is_zero()) return std::nullopt;
  const Fraction factor = only_coefficient(x) / only_coefficient(y);
  return add(x, y, -factor).is_zero() ? std::optional(factor) : std::nullopt;
}

Ratio Algebra::symbol(std::string atom) {
  return {Poly({factor_of(std::move(atom))}, 1), Fraction(1)};
}

// Returns value^(num/den) as a product of primes, for value > 0. A rest that is too large to factor counts as
// a prime.
Monomial Algebra::prime_factors(const Integer& value, int64_t num, int64_t den) {
  std::map<std::string, int64_t> exponents;
  Integer rest = value;
  const auto take = [&](int64_t prime) {
    const Integer divisor(prime);
    while (remainder(rest, divisor).sign() == 0) {
      rest = quotient(rest, divisor);
      ++exponents["#" + std::to_string(prime)];
      spend(1);
    }
  };
  if (const auto small = rest.small(); small && *small < (int64_t{1} << 62)) {
    int64_t left = *small;
    for (int64_t p = 2; p <= 10'000 && p * p <= left; p += p == 2 ? 1 : 2) {
      while (left % p == 0) {
        left /= p;
        ++exponents["#" + std::to_string(p)];
      }
    }
    spend(20);
    rest = left;
  } else {
    spend(200);
    for (int64_t p = 2; p < 200; p += p == 2 ? 1 : 2) take(p);
  }
  if (rest != Integer(1)) {
    // The rest may be a perfect power of a large number. At least the powers that the root requires are
    // found.
    for (const unsigned degree : {2u, 3u, 5u, static_cast<unsigned>(den)}) {
      if (degree < 2 || rest.bits() / degree > 512) continue;
      const Integer root = floor_root(rest, degree);
      if (r1::power(root, degree) != rest) continue;
      exponents["#" + root.text()] += degree;
      rest = 1;
      break;
    }
    if (rest != Integer(1)) ++exponents["#" + rest.text()];
  }
  Monomial out;
  for (const auto& [atom, count] : exponents) out.push_back(factor_of(atom, count * num, den));
  return out;
}

// sqrt(a + b sqrt(c)) = sqrt((a + d) / 2) +- sqrt((a - d) / 2) if d^2 = a^2 - b^2 c is a square.
std::optional<Poly> Algebra::denested_root(const Poly& value) {
  if (value.terms().size() != 2) return std::nullopt;
  const auto constant = value.terms().find({});
  if (constant == value.terms().end()) return std::nullopt;
  const auto& [monomial, b] =
      constant == value.terms().begin() ? *std::next(constant) : *value.terms().begin();
  const Fraction a = constant->second;
  for (const Factor& f : monomial) {
    if (!is_prime_atom(f.atom) || f.den != 2) return std::nullopt;
  }
  const auto square = multiply(Poly(monomial, b), Poly(monomial, b)).constant();
  if (!square || a.sign() <= 0) return std::nullopt;
  const Fraction dd = a * a - *square;
  check(dd);
  if (dd.sign() < 0) return std::nullopt;
  const Integer n = floor_square_root(dd.num()), d = floor_square_root(dd.den());
  if (n * n != dd.num() || d * d != dd.den()) return std::nullopt;
  const Fraction root(n, d);
  const Ratio first = root_of(Poly((a + root) / Fraction(2)), 1, 2),
              second = root_of(Poly((a - root) / Fraction(2)), 1, 2);
  return add(first.num, second.num, b.sign() < 0 ? -1 : 1);
}

// Returns value^(num/den) for den > 1 and a value other than 0.
Ratio Algebra::root_of(const Poly& value, int64_t num, int64_t den) {
  spend(4);
  if (value.terms().size() == 1) {
    const auto& [monomial, coefficient] = *value.terms().begin();
    std::vector<Factor> factors;
    Fraction sign = 1;
    if (coefficient.sign() < 0) {
      // The odd root of a negative number is the real one, and a square root gives i. Other even roots have
      // no form here.
      if (den % 2 == 1) {
        if (num % 2 != 0) sign = -1;
      } else if (den == 2) {
        factors.push_back(factor_of(std::string(kI), num));
      } else {
        throw NotEvaluated{"not_a_value"};
      }
    }
    for (const Factor& f : monomial) {
      if (f.reduction || f.atom == kI) throw NotEvaluated{"not_a_value"};
      if (std::abs(f.num) > kMaxExponent || f.den > kMaxExponent) throw NotEvaluated{"too_complex"};
      factors.push_back(factor_of(f.atom, f.num * num, f.den * den));
    }
    Poly out;
    add_product(
        out,
        [&] {
          std::ranges::sort(factors);
          return factors;
        }(),
        sign);
    Poly top, bottom;
    add_product(top, prime_factors(coefficient.num().magnitude(), num, den), 1);
    add_product(bottom, prime_factors(coefficient.den(), -num, den), 1);
    return {multiply(multiply(out, top), bottom), Fraction(1)};
  }
  // Square factors are moved out of the root: sqrt(8 + 4 sqrt 3) = 2 sqrt(2 + sqrt 3).
  Integer common = 0, below = 1;
  for (const auto& [monomial, coefficient] : value.terms()) {
    common = greatest_common_divisor(common, coefficient.num());
    below = quotient(below * coefficient.den(), greatest_common_divisor(below, coefficient.den()));
    if (below.bits() > kMaxBits) throw NotEvaluated{"too_complex"};
  }
  const Fraction content(common, below);
  const Poly primitive = multiply(value, Poly(Fraction(1) / content));
  const Ratio outside = root_of(Poly(content), num, den);
  if (den == 2 && std::abs(num) == 1) {
    if (const auto plain = denested_root(primitive)) {
      const Ratio inside{*plain, Fraction(1)};
      return num == 1 ? multiply(outside, inside) : divide(outside, inside);
    }
  }
  const auto reduction = std::make_shared<Reduction>(Reduction{1, std::make_shared<const Poly>(primitive)});
  const Poly atom({factor_of("(" + primitive.text() + ")", std::abs(num) % den, den, reduction)}, 1);
  const Poly whole = power(primitive, static_cast<int>(std::abs(num) / den));
  const Ratio inside{multiply(atom, whole), Fraction(1)};
  return num > 0 ? multiply(outside, inside) : divide(outside, inside);
}

Ratio Algebra::rational_power(const Ratio& base, int64_t num, int64_t den) {
  if (std::abs(num) > kMaxExponent || den > kMaxExponent) throw NotEvaluated{"too_complex"};
  if (den == 1) {
    const auto n = static_cast<int>(std::abs(num));
    const Ratio out{power(base.num, n), power(base.den, n)};
    return num >= 0 ? simplified(out.num, out.den) : divide({Fraction(1), Fraction(1)}, out);
  }
  if (base.num.is_zero()) {
    if (num <= 0) throw NotEvaluated{"division_by_zero"};
    return {};
  }
  if (const auto one = base.den.constant(); one && *one == Fraction(1)) return root_of(base.num, num, den);
  return divide(root_of(base.num, num, den), root_of(base.den, num, den));
}

Ratio Algebra::power(const Ratio& base, const Ratio& exponent) {
  if (const auto value = constant_of(exponent)) {
    const auto num = value->num().small(), den = value->den().small();
    if (!num || !den) throw NotEvaluated{"too_complex"};
    if (*num == 0 && base.num.is_zero()) throw NotEvaluated{"not_a_value"};
    return rational_power(base, *num, *den);
  }
  // base^(sum of c m) is the product of (base^m)^c, with base^m as an atom.
  const auto one = exponent.den.constant();
  if (!one || base.num.is_zero()) throw NotEvaluated{"not_a_value"};
  std::vector<std::pair<std::string, int64_t>> bases;  // the atoms of the base, with their exponents
  const auto value = constant_of(base);
  if (value && value->sign() > 0) {
    for (const Factor& f : prime_factors(value->num(), 1, 1)) bases.emplace_back(f.atom, f.num);
    for (const Factor& f : prime_factors(value->den(), 1, 1)) bases.emplace_back(f.atom, -f.num);
  } else {
    const auto below = base.den.constant();
    bases.emplace_back(
        below ? "(" + base.num.text() + ")" : "(" + base.num.text() + ")/(" + base.den.text() + ")", 1);
  }
  Ratio out{Fraction(1), Fraction(1)};
  for (const auto& [monomial, coefficient] : exponent.num.terms()) {
    const Fraction c = coefficient / *one;
    const auto num = c.num().small(), den = c.den().small();
    if (!num || !den || std::abs(*num) > kMaxExponent || *den > kMaxExponent)
      throw NotEvaluated{"too_complex"};
    if (monomial.empty()) {
      out = multiply(out, rational_power(base, *num, *den));
      continue;
    }
    const std::string name = Poly(monomial, 1).text();
    for (const auto& [atom, count] : bases) {
      Poly term(
          {factor_of((atom == "(1*@e)" ? std::string(kE) : atom) + "^(" + name + ")", *num * count, *den)},
          1);
      out = multiply(out, Ratio{std::move(term), Fraction(1)});
    }
  }
  return out;
}

Ratio Algebra::function(std::string_view name, const Ratio& argument) {
  std::string atom = std::string(name) + "(" + argument.num.text();
  if (const auto one = argument.den.constant(); !one || *one != Fraction(1))
    atom += ")/(" + argument.den.text();
  spend(static_cast<int64_t>(atom.size() / 16));
  return symbol(atom + ")");
}

// The logarithm of a positive fraction or of a monomial splits into logarithms of primes and atoms.
Ratio Algebra::logarithm(const Ratio& value) {
  if (value.num.is_zero()) throw NotEvaluated{"not_a_value"};
  const auto one = value.den.constant();
  if (!one || *one != Fraction(1) || value.num.terms().size() != 1) return function("log", value);
  const auto& [monomial, coefficient] = *value.num.terms().begin();
  if (coefficient.sign() < 0) throw NotEvaluated{"not_a_value"};
  Ratio out;
  const auto add_log = [&](const Factor& f, int sign) {
    const Fraction exponent(Integer(sign * f.num), Integer(f.den));
    const bool euler = f.atom == kE;
    if (f.reduction || f.atom == kI) throw NotEvaluated{"not_a_value"};
    const Ratio log = euler ? Ratio{Fraction(1), Fraction(1)} : symbol("log(" + f.atom + ")");
    out = add(out, multiply(Ratio{Poly(exponent), Fraction(1)}, log));
  };
  for (const Factor& f : prime_factors(coefficient.num(), 1, 1)) add_log(f, 1);
  for (const Factor& f : prime_factors(coefficient.den(), 1, 1)) add_log(f, -1);
  for (const Factor& f : monomial) add_log(f, 1);
  return out;
}

namespace {

// Returns k modulo 24 if the angle is k pi / 12.
std::optional<int> twelfths_of_pi(const Ratio& angle) {
  if (angle.num.is_zero()) return 0;
  const auto one = angle.den.constant();
  if (!one || angle.num.terms().size() != 1) return std::nullopt;
  const auto& [monomial, coefficient] = *angle.num.terms().begin();
  if (monomial.size() != 1 || monomial[0].atom != kPi || monomial[0].num != 1 || monomial[0].den != 1)
    return std::nullopt;
  const Fraction twelfths = coefficient / *one * Fraction(12);
  if (!twelfths.is_integer()) return std::nullopt;
  const auto small = remainder(twelfths.num(), 24).small();
  return static_cast<int>((*small + 24) % 24);
}

}  // namespace

Ratio Algebra::sine(const Ratio& angle) {
  if (const auto k = twelfths_of_pi(angle)) {
    const int half = *k % 12, quarter = half <= 6 ? half : 12 - half;  // sin(pi - x) = sin x
    const Fraction sign = *k >= 12 ? -1 : 1;
    const Ratio half_value{Fraction(Integer(1), Integer(2)), Fraction(1)};
    const auto root = [&](int n) { return root_of(Poly(Fraction(n)), 1, 2); };
    const auto quarter_of = [&](const Ratio& value) {
      return multiply(value, Ratio{Fraction(Integer(1), Integer(4)), Fraction(1)});
    };
    Ratio value;
    if (quarter == 1) value = quarter_of(subtract(root(6), root(2)));
    if (quarter == 2) value = half_value;
    if (quarter == 3) value = multiply(root(2), half_value);
    if (quarter == 4) value = multiply(root(3), half_value);
    if (quarter == 5) value = quarter_of(add(root(6), root(2)));
    if (quarter == 6) value = {Fraction(1), Fraction(1)};
    return multiply(value, Ratio{Poly(sign), Fraction(1)});
  }
  // Since sin(-x) = -sin(x), the argument is given a positive first coefficient.
  if (only_coefficient(angle.num).sign() < 0) return negate(sine(negate(angle)));
  const Ratio cosine_of = function("cos", angle);
  const Poly square = add(Poly(Fraction(1)), multiply(cosine_of.num, cosine_of.num), -1);
  Factor f = function("sin", angle).num.terms().begin()->first[0];
  f.reduction = std::make_shared<Reduction>(Reduction{2, std::make_shared<const Poly>(square)});
  return {Poly({f}, 1), Fraction(1)};
}

Ratio Algebra::cosine(const Ratio& angle) {
  if (twelfths_of_pi(angle)) {
    const Ratio quarter_turn{Poly({factor_of(std::string(kPi))}, Fraction(Integer(1), Integer(2))),
                             Fraction(1)};
    return sine(add(angle, quarter_turn));
  }
  if (only_coefficient(angle.num).sign() < 0) return function("cos", negate(angle));
  return function("cos", angle);
}

std::optional<Fraction> constant_of(const Ratio& value) {
  const auto num = value.num.constant(), den = value.den.constant();
  if (!num || !den) return std::nullopt;
  return *num / *den;
}

}  // namespace r1::math
