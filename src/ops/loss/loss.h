// ops/loss/loss.h: log-probs of given tokens, and their gradient, without ever holding the [T, V] logits.
//
//   logit[t, n] = h[t] . W[n]
//   z           = logit * (1 / temperature)
//   logprob[t]  = z[target] - m - log(sum over n of exp(z[n] - m)),   m = max z
//
// Logits are computed for a chunk of tokens at a time (at most kLogitFloats of scratch), used and dropped.
// The backward computes them again, unless there are at most kKeptLogits in all.
//
// cpu-f32: logits as in ops/matmul; inv_temperature = 1.0f / temperature; z = logit * inv_temperature is
// rounded once. exp is ours; its sum runs in 16 virtual lanes (lane = n mod 16, n in order), then a
// fixed tree; the log of the sum is exact_log rounded to f32; logprob = (z[target] - m) - log.
// Bit-exact: a function of h[t], W, target and temperature. The sampler (ops/sample) computes its
// log-probs with the same row function. Entropy = log_sum - (sum of e (z - m)) / sum with
// e = exp(z - m), by FMA in the same lanes and tree.
//
// Backward: tokens with target -1 or g = 0 contribute nothing at all (their h is not read). dh walks n in
// order. dW (and the bias's gradient) walk t in order and continue from what they held.
#pragma once

#include <cstdint>
#include <span>

#include "ops/matmul/matmul.h"
#include "tensor/context.h"

namespace r1 {

inline constexpr int64_t kLogitFloats = int64_t{1} << 22;  // 16 MiB of scratch
inline constexpr int64_t kKeptLogits = int64_t{1} << 18;   // most logits kept for the backward (1 MiB)

// h [T, D], targets [T] (-1: skipped, logprob 0) -> logprobs [T]. `entropy` [T], if given, receives
// the entropy of softmax(z), without gradient. Backward: d logprob[t] = g[t] gives
// dz[n] = g (1[n = target] - p[n]). `targets` must outlive the tape.
Tensor token_log_probs(Context& ctx, const Tensor& h, const Weight& head, std::span<const int32_t> targets,
                       float temperature, const Tensor& entropy = {});

// Overwrites a row z of logits with z * inv_temperature. Then logprob(n) = (z[n] - max) - log_sum.
struct RowSoftmax {
  float max = 0;
  float log_sum = 0;
  float sum = 0;  // of exp(z - max)
};
RowSoftmax row_softmax(float* z, int64_t V, float inv_temperature);
inline float row_log_prob(const RowSoftmax& row, const float* z, int64_t n) {
  return (z[n] - row.max) - row.log_sum;
}

namespace ref {
void token_log_probs(const float* h, const float* w, const int32_t* targets, int64_t T, int64_t D, int64_t V,
                     double temperature, double* logprobs, double* entropy);
void token_log_probs_backward(const float* h, const float* w, const int32_t* targets, const float* g,
                              int64_t T, int64_t D, int64_t V, double temperature, double* dh, double* dw);
}  // namespace ref

}  // namespace r1
