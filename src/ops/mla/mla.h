// ops/mla/mla.h: the steps before and after attention of multi-head latent attention in latent ("absorbed")
// form (DeepSeek-V2, 2024): two per-head products, and the key.
//
// kv_b [H * (n + v), R] holds n rows of W_uk, then v rows of W_uv, for each head. Queries are carried into
// the latent space and values out of it, so that attention itself sees one key/value head of width R + P
// whose value is the latent:
//
//   absorb_query:  out[t, h, r]     = sum over d < n of q[t, h, d] * W_uk[h, d, r]
//                  out[t, h, R + p] = q[t, h, n + p], turned by rope
//   latent_key:    out[t]           = c[t], then compressed[t, R + p], turned by rope
//   expand_value:  out[t, h, d]     = sum over r of o[t, h, r] * W_uv[h, d, r]
//
// cpu-f32: each sum walks d (or r) strictly in order, one FMA per step, so it is bit-exact per token.
// Gradients of kv_b walk t in order and continue from what they held. The bf16 numerics, cpu-avx512bf16
// included, walk the same chains over rounded q, o and kv_b and round the result.
#pragma once

#include "ops/mla/latent_weight.h"
#include "ops/rope/rope.h"
#include "tensor/context.h"

namespace r1 {

// q [T, H, n + P] -> [T, H, R + P]; P is the rotary width.
Tensor absorb_query(Context& ctx, const Tensor& q, const LatentWeight& w, const Rotary& rotary);
// Without a tape, the first R columns alone: the product goes to `out` [T, H, R + P], whose other columns stay.
void absorb_into(Context& ctx, const Tensor& q, const LatentWeight& w, const Tensor& out);
// The normed latent c [T, R] and compressed [T, R + P], of which only the rotary part is used -> [T, R + P].
Tensor latent_key(Context& ctx, const Tensor& c, const Tensor& compressed, const Rotary& rotary);
// o [T, H, R] -> [T, H, v].
Tensor expand_value(Context& ctx, const Tensor& o, const LatentWeight& w);

namespace ref {
// kv_b is as above; P follows from q's width.
void absorb_query(const float* q, const float* kv_b, int64_t T, int64_t H, int64_t n, int64_t v, int64_t R,
                  int64_t P, double* out);
void expand_value(const float* o, const float* kv_b, int64_t T, int64_t H, int64_t n, int64_t v, int64_t R,
                  double* out);
}  // namespace ref

}  // namespace r1
