#include <cmath>

#include "ops/swiglu/swiglu.h"

namespace r1::ref {

void swiglu(const float* gate, const float* up, int64_t n, double* y) {
  for (int64_t i = 0; i < n; ++i) {
    const double g = gate[i];
    y[i] = g / (1.0 + std::exp(-g)) * up[i];
  }
}

// With s = sigmoid(gate): dgate = dy * up * s * (1 + gate * (1 - s)), dup = dy * gate * s.
void swiglu_backward(const float* gate, const float* up, const float* dy, int64_t n, double* dgate,
                     double* dup) {
  for (int64_t i = 0; i < n; ++i) {
    const double g = gate[i], s = 1.0 / (1.0 + std::exp(-g));
    dgate[i] = static_cast<double>(dy[i]) * up[i] * s * (1.0 + g * (1.0 - s));
    dup[i] = static_cast<double>(dy[i]) * g * s;
  }
}

}  // namespace r1::ref
