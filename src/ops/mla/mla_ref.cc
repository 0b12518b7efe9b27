// ops/mla/mla_ref.cc: the oracle, in double.
#include "ops/mla/mla.h"

namespace r1::ref {

void absorb_query(const float* q, const float* kv_b, int64_t T, int64_t H, int64_t n, int64_t v, int64_t R,
                  int64_t P, double* out) {
  for (int64_t t = 0; t < T; ++t)
    for (int64_t h = 0; h < H; ++h) {
      const float* query = q + (t * H + h) * (n + P);
      const float* w_uk = kv_b + h * (n + v) * R;
      double* to = out + (t * H + h) * (R + P);
      for (int64_t r = 0; r < R; ++r) {
        to[r] = 0;
        for (int64_t d = 0; d < n; ++d) to[r] += double{query[d]} * double{w_uk[d * R + r]};
      }
      for (int64_t p = 0; p < P; ++p) to[R + p] = query[n + p];
    }
}

void expand_value(const float* o, const float* kv_b, int64_t T, int64_t H, int64_t n, int64_t v, int64_t R,
                  double* out) {
  for (int64_t t = 0; t < T; ++t)
    for (int64_t h = 0; h < H; ++h) {
      const float* latent = o + (t * H + h) * R;
      const float* w_uv = kv_b + (h * (n + v) + n) * R;
      for (int64_t d = 0; d < v; ++d) {
        double sum = 0;
        for (int64_t r = 0; r < R; ++r) sum += double{latent[r]} * double{w_uv[d * R + r]};
        out[(t * H + h) * v + d] = sum;
      }
    }
}

}  // namespace r1::ref
