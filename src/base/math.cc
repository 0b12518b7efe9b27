#include "base/math.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>

namespace r1 {
namespace {

constexpr double kLn2High = 0x1.62e42fefa38p-1;   // ln 2 with the low 11 bits clear: k * high is exact
constexpr double kLn2Low = 0x1.ef35793c7673p-45;  // ln 2 - high
constexpr double kLog2E = 0x1.71547652b82fep+0;
constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;
// pi / 2 in parts of 33, 33 and 53 bits: n * part is exact for |n| < 2^20; beyond, the fma absorbs the rest.
constexpr double kHalfPi1 = 0x1.921fb544p+0;
constexpr double kHalfPi2 = 0x1.0b4611a6p-34;
constexpr double kHalfPi3 = 0x1.3198a2e037073p-69;

double ldexp_exact(double x, int64_t k) {
  // Two steps, so that a result below the normal range is rounded only once, at the end.
  const int64_t half = k / 2;
  const auto power = [](int64_t e) { return std::bit_cast<double>(static_cast<uint64_t>(e + 1023) << 52); };
  return x * power(half) * power(k - half);
}

}  // namespace

double exact_exp(double x) {
  if (std::isnan(x)) return x;
  if (x > 709.782712893384) return std::numeric_limits<double>::infinity();
  if (x < -745.2) return 0.0;
  const double k = std::nearbyint(x * kLog2E);
  double r = std::fma(-k, kLn2High, x);
  r = std::fma(-k, kLn2Low, r);
  // Taylor series up to r^13 for |r| <= 0.3466; the next term is below 5e-18.
  double p = 1.0 / 6227020800.0;
  for (const double c : {1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0, 1.0 / 40320.0,
                         1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0}) {
    p = std::fma(p, r, c);
  }
  return ldexp_exact(p, static_cast<int64_t>(k));
}

double exact_log(double x) {
  if (std::isnan(x) || x < 0) return std::numeric_limits<double>::quiet_NaN();
  if (x == 0) return -std::numeric_limits<double>::infinity();
  if (std::isinf(x)) return x;
  int64_t k = 0;
  if (x < 0x1p-1022) {
    x *= 0x1p54;
    k = -54;
  }
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  k += static_cast<int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0xFFFFFFFFFFFFFull) | 0x3FF0000000000000ull);  // [1, 2)
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++k;
  }
  // log m = 2 atanh(s) with s = (m - 1) / (m + 1) and |s| <= 0.1716; s^23 / 23 is below 1e-19.
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double p = 2.0 / 21.0;
  for (const double c : {2.0 / 19.0, 2.0 / 17.0, 2.0 / 15.0, 2.0 / 13.0, 2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0,
                         2.0 / 5.0, 2.0 / 3.0}) {
    p = std::fma(p, z, c);
  }
  const double log_m = std::fma(s * z, p, 2.0 * s);
  const double kd = static_cast<double>(k);
  return std::fma(kd, kLn2High, std::fma(kd, kLn2Low, log_m));
}

double exact_pow(double x, double y) {
  return exact_exp(y * exact_log(x));
}

void exact_sincos(double x, double* sine, double* cosine) {
  const double n = std::nearbyint(x * kTwoOverPi);
  double r = std::fma(-n, kHalfPi1, x);
  r = std::fma(-n, kHalfPi2, r);
  r = std::fma(-n, kHalfPi3, r);
  const double z = r * r;  // |r| <= pi / 4
  double s = 1.0 / 355687428096000.0;
  for (const double c : {-1.0 / 1307674368000.0, 1.0 / 6227020800.0, -1.0 / 39916800.0, 1.0 / 362880.0,
                         -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0}) {
    s = std::fma(s, z, c);
  }
  s = std::fma(s * z, r, r);
  double c = -1.0 / 6402373705728000.0;
  for (const double k : {1.0 / 20922789888000.0, -1.0 / 87178291200.0, 1.0 / 479001600.0, -1.0 / 3628800.0,
                         1.0 / 40320.0, -1.0 / 720.0, 1.0 / 24.0, -0.5, 1.0}) {
    c = std::fma(c, z, k);
  }
  switch (static_cast<int64_t>(n) & 3) {
    case 0:
      *sine = s, *cosine = c;
      break;
    case 1:
      *sine = c, *cosine = -s;
      break;
    case 2:
      *sine = -s, *cosine = -c;
      break;
    default:
      *sine = -c, *cosine = s;
      break;
  }
}

}  // namespace r1
