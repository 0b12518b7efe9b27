#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/loss/loss.h"

namespace r1::ref {
namespace {

// Softmax of one token: tempered logits in `z`, probabilities in `p`. Returns log sum exp.
double softmax_row(const float* h, const float* w, int64_t D, int64_t V, double temperature,
                   std::vector<double>& z, std::vector<double>& p) {
  for (int64_t n = 0; n < V; ++n) {
    double sum = 0;
    for (int64_t d = 0; d < D; ++d) sum += static_cast<double>(h[d]) * w[n * D + d];
    z[static_cast<size_t>(n)] = sum / temperature;
  }
  const double max = *std::max_element(z.begin(), z.end());
  double sum = 0;
  for (const double v : z) sum += std::exp(v - max);
  const double log_sum = max + std::log(sum);
  for (size_t n = 0; n < z.size(); ++n) p[n] = std::exp(z[n] - log_sum);
  return log_sum;
}

}  // namespace

void token_log_probs(const float* h, const float* w, const int32_t* targets, int64_t T, int64_t D, int64_t V,
                     double temperature, double* logprobs, double* entropy) {
  std::vector<double> z(static_cast<size_t>(V)), p(z);
  for (int64_t t = 0; t < T; ++t) {
    logprobs[t] = 0;
    if (entropy != nullptr) entropy[t] = 0;
    if (targets[t] < 0) continue;
    const double log_sum = softmax_row(h + t * D, w, D, V, temperature, z, p);
    logprobs[t] = z[static_cast<size_t>(targets[t])] - log_sum;
    if (entropy == nullptr) continue;
    for (size_t n = 0; n < z.size(); ++n) entropy[t] -= p[n] * (z[n] - log_sum);
  }
}

void token_log_probs_backward(const float* h, const float* w, const int32_t* targets, const float* g,
                              int64_t T, int64_t D, int64_t V, double temperature, double* dh, double* dw) {
  std::vector<double> z(static_cast<size_t>(V)), p(z);
  std::fill(dh, dh + T * D, 0.0);
  std::fill(dw, dw + V * D, 0.0);
  for (int64_t t = 0; t < T; ++t) {
    if (targets[t] < 0) continue;
    softmax_row(h + t * D, w, D, V, temperature, z, p);
    for (int64_t n = 0; n < V; ++n) {
      const double dz = g[t] * ((n == targets[t] ? 1.0 : 0.0) - p[static_cast<size_t>(n)]) / temperature;
      for (int64_t d = 0; d < D; ++d) {
        dh[t * D + d] += dz * w[n * D + d];
        dw[n * D + d] += dz * h[t * D + d];
      }
    }
  }
}

}  // namespace r1::ref
