#include <cmath>

#include "ops/norm/norm.h"

namespace r1::ref {

void rms_norm(const float* x, const float* w, int64_t T, int64_t D, double eps, double* y) {
  for (int64_t t = 0; t < T; ++t) {
    double squares = 0;
    for (int64_t d = 0; d < D; ++d) squares += static_cast<double>(x[t * D + d]) * x[t * D + d];
    const double rstd = 1.0 / std::sqrt(squares / static_cast<double>(D) + eps);
    for (int64_t d = 0; d < D; ++d) y[t * D + d] = x[t * D + d] * rstd * w[d];
  }
}

// With n[d] = x[d] * rstd: dx = rstd * (dy w - n * mean(dy w n)), dw = sum over t of dy n.
void rms_norm_backward(const float* x, const float* w, const float* dy, int64_t T, int64_t D, double eps,
                       double* dx, double* dw) {
  for (int64_t d = 0; d < D; ++d) dw[d] = 0;
  for (int64_t t = 0; t < T; ++t) {
    const float* xt = x + t * D;
    const float* dyt = dy + t * D;
    double squares = 0;
    for (int64_t d = 0; d < D; ++d) squares += static_cast<double>(xt[d]) * xt[d];
    const double rstd = 1.0 / std::sqrt(squares / static_cast<double>(D) + eps);
    double mean = 0;
    for (int64_t d = 0; d < D; ++d) mean += static_cast<double>(dyt[d]) * w[d] * xt[d] * rstd;
    mean /= static_cast<double>(D);
    for (int64_t d = 0; d < D; ++d) {
      dx[t * D + d] = rstd * (static_cast<double>(dyt[d]) * w[d] - xt[d] * rstd * mean);
      dw[d] += static_cast<double>(dyt[d]) * xt[d] * rstd;
    }
  }
}

}  // namespace r1::ref
