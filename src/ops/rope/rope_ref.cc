#include <cmath>

#include "ops/rope/rope.h"

namespace r1::ref {

void rope(const float* x, const int32_t* positions, const float* inv_freq, double attention_factor, int64_t T,
          int64_t H, int64_t K, int64_t P, RopeStyle style, bool backward, double* y) {
  for (int64_t t = 0; t < T; ++t) {
    for (int64_t h = 0; h < H; ++h) {
      const float* from = x + (t * H + h) * K;
      double* to = y + (t * H + h) * K;
      for (int64_t k = 0; k < K - P; ++k) to[k] = from[k];
      for (int64_t i = 0; i < P / 2; ++i) {
        const int64_t a = K - P + (style == RopeStyle::half ? i : 2 * i);
        const int64_t b = K - P + (style == RopeStyle::half ? i + P / 2 : 2 * i + 1);
        const double angle = static_cast<float>(positions[t]) * inv_freq[i];  // rounded to f32 (rope.h)
        const double c = std::cos(angle) * attention_factor;
        const double s = std::sin(angle) * attention_factor * (backward ? -1.0 : 1.0);
        to[a] = from[a] * c - from[b] * s;
        to[b] = from[b] * c + from[a] * s;
      }
    }
  }
}

}  // namespace r1::ref
