// base/interval.h: confidence intervals of shares.
#pragma once

#include <cmath>

namespace r1 {

inline constexpr double kZ95 = 1.96;  // of a two-sided 95 % interval

struct Interval {
  double low = 0, high = 1;
};

// Returns Wilson's score interval (95 %) of a share p of n > 0 independent trials (Wilson 1927). At p = 0 it
// is [0, z^2 / (n + z^2)].
inline Interval wilson_interval(double p, double n) {
  const double zz = kZ95 * kZ95;
  const double centre = (p + zz / (2 * n)) / (1 + zz / n);
  const double half = kZ95 * std::sqrt(p * (1 - p) / n + zz / (4 * n * n)) / (1 + zz / n);
  return {.low = p <= 0 ? 0.0 : centre - half, .high = p >= 1 ? 1.0 : centre + half};
}

}  // namespace r1
