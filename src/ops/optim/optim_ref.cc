#include <cmath>

#include "ops/optim/optim.h"

namespace r1::ref {

void adamw(double* w, const float* g, double* m, double* v, int64_t n, const AdamW& how, double grad_scale) {
  const double b1 = how.beta1, b2 = how.beta2;
  const double c1 = 1.0 - std::pow(b1, static_cast<double>(how.step));
  const double c2 = 1.0 - std::pow(b2, static_cast<double>(how.step));
  for (int64_t i = 0; i < n; ++i) {
    const double grad = g[i] * grad_scale;
    m[i] = b1 * m[i] + (1.0 - b1) * grad;
    v[i] = b2 * v[i] + (1.0 - b2) * grad * grad;
    w[i] -= how.lr * (m[i] / c1 / (std::sqrt(v[i] / c2) + how.eps) + how.weight_decay * w[i]);
  }
}

}  // namespace r1::ref
