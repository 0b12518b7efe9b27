// ops/matmul/matmul_ref.cc: the oracle, in double.
#include "ops/matmul/matmul.h"

namespace r1::ref {

void matmul(const float* x, const float* w, const float* bias, int64_t T, int64_t N, int64_t K, double* y) {
  for (int64_t t = 0; t < T; ++t)
    for (int64_t n = 0; n < N; ++n) {
      double sum = bias != nullptr ? double{bias[n]} : 0.0;
      for (int64_t k = 0; k < K; ++k) sum += double{x[t * K + k]} * double{w[n * K + k]};
      y[t * N + n] = sum;
    }
}

void matmul_backward(const float* x, const float* w, const float* dy, int64_t T, int64_t N, int64_t K,
                     double* dx, double* dw, double* dbias) {
  for (int64_t t = 0; dx != nullptr && t < T; ++t)
    for (int64_t k = 0; k < K; ++k) {
      double sum = 0;
      for (int64_t n = 0; n < N; ++n) sum += double{dy[t * N + n]} * double{w[n * K + k]};
      dx[t * K + k] = sum;
    }
  for (int64_t n = 0; dw != nullptr && n < N; ++n)
    for (int64_t k = 0; k < K; ++k) {
      double sum = 0;
      for (int64_t t = 0; t < T; ++t) sum += double{dy[t * N + n]} * double{x[t * K + k]};
      dw[n * K + k] = sum;
    }
  for (int64_t n = 0; dbias != nullptr && n < N; ++n) {
    dbias[n] = 0;
    for (int64_t t = 0; t < T; ++t) dbias[n] += double{dy[t * N + n]};
  }
}

}  // namespace r1::ref
