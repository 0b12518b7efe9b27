// ops/attention/attention_ref.cc: the definition of attention, in double, one query at a time.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/attention/attention.h"

namespace r1::ref {

namespace {

// One query against keys 0 .. n-1 of its sequence.
struct Query {
  const float* q;
  const float* k;  // key 0 of the group; keys are k_stride floats apart
  int64_t n, K, k_stride;
  double scale;

  std::vector<double> probabilities() const {
    std::vector<double> p(static_cast<size_t>(n));
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t j = 0; j < n; ++j) {
      double s = 0;
      for (int64_t d = 0; d < K; ++d)
        s += static_cast<double>(q[d]) * static_cast<double>(k[j * k_stride + d]);
      p[static_cast<size_t>(j)] = s * scale;
      top = std::max(top, s * scale);
    }
    for (double& e : p) sum += e = std::exp(e - top);
    for (double& e : p) e /= sum;
    return p;
  }
};

}  // namespace

float quantise_key(const float* x, int64_t n, int8_t* q) {
  float amax = 0;
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    finite = finite && std::isfinite(x[i]);
    amax = std::max(amax, std::abs(x[i]));
  }
  std::fill_n(q, n, int8_t{0});
  if (!finite) return std::numeric_limits<float>::quiet_NaN();
  if (amax < 0x1p-119f) return 0;
  const float inverse = 127.0f / amax;
  for (int64_t i = 0; i < n; ++i) q[i] = static_cast<int8_t>(std::nearbyint(x[i] * inverse));
  return amax / 127.0f;
}

void attention(const float* q, const float* k, const float* v, const int32_t* offsets, int64_t S, int64_t H,
               int64_t G, int64_t K, int64_t V, double scale, double* o) {
  for (int64_t s = 0; s < S; ++s) {
    for (int64_t t = offsets[s]; t < offsets[s + 1]; ++t) {
      for (int64_t h = 0; h < H; ++h) {
        const int64_t g = h / (H / G), n = t - offsets[s] + 1;
        const float* value = v + (offsets[s] * G + g) * V;
        const Query query{q + (t * H + h) * K, k + (offsets[s] * G + g) * K, n, K, G * K, scale};
        const std::vector<double> p = query.probabilities();
        for (int64_t d = 0; d < V; ++d) {
          double sum = 0;
          for (int64_t j = 0; j < n; ++j) {
            sum += p[static_cast<size_t>(j)] * static_cast<double>(value[j * G * V + d]);
          }
          o[(t * H + h) * V + d] = sum;
        }
      }
    }
  }
}

void attention_backward(const float* q, const float* k, const float* v, const float* d_o,
                        const int32_t* offsets, int64_t S, int64_t H, int64_t G, int64_t K, int64_t V,
                        double scale, double* dq, double* dk, double* dv) {
  const int64_t T = offsets[S];
  std::fill_n(dq, T * H * K, 0.0);
  std::fill_n(dk, T * G * K, 0.0);
  std::fill_n(dv, T * G * V, 0.0);
  for (int64_t s = 0; s < S; ++s) {
    for (int64_t t = offsets[s]; t < offsets[s + 1]; ++t) {
      for (int64_t h = 0; h < H; ++h) {
        const int64_t g = h / (H / G), n = t - offsets[s] + 1, key = offsets[s] * G + g;
        const float* query = q + (t * H + h) * K;
        const float* out = d_o + (t * H + h) * V;
        const std::vector<double> p = Query{query, k + key * K, n, K, G * K, scale}.probabilities();
        std::vector<double> dp(static_cast<size_t>(n), 0.0);
        double delta = 0;
        for (int64_t j = 0; j < n; ++j) {
          const size_t at = static_cast<size_t>(j);
          for (int64_t d = 0; d < V; ++d) {
            dp[at] += static_cast<double>(out[d]) * static_cast<double>(v[(key + j * G) * V + d]);
            dv[(key + j * G) * V + d] += p[at] * static_cast<double>(out[d]);
          }
          delta += p[at] * dp[at];
        }
        for (int64_t j = 0; j < n; ++j) {
          const double ds = p[static_cast<size_t>(j)] * (dp[static_cast<size_t>(j)] - delta) * scale;
          for (int64_t d = 0; d < K; ++d) {
            dq[(t * H + h) * K + d] += ds * static_cast<double>(k[(key + j * G) * K + d]);
            dk[(key + j * G) * K + d] += ds * static_cast<double>(query[d]);
          }
        }
      }
    }
  }
}

}  // namespace r1::ref
