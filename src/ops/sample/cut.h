// ops/sample/cut.h: a row's tempered logits and the cuts that filters make in their descending order. Private
// to ops/sample.
#pragma once

#include <cstdint>
#include <span>

#include "ops/loss/loss.h"
#include "ops/sample/sample.h"

namespace r1 {

struct SampleRow {
  float* z;  // [V], finite or -infinity (dropped tokens become -infinity, i.e. weight 0)
  int64_t V;
  float max;
};

inline constexpr int64_t kSampleBlock = 256;

// e[i] = exp(z[first + i] - max) for a block of n <= kSampleBlock. Returns their sum: 16 f64 lanes, a tree.
double sample_block_weights(const SampleRow& row, int64_t first, int64_t n, float* e);

// Keeps the `k` largest; equals are kept by lowest index. 1 <= k < V.
void keep_top_k(const SampleRow& row, int64_t k);
// Keeps the shortest prefix (at least one token) of the descending order that reaches top_p of all weight.
void keep_top_p(const SampleRow& row, float top_p);
// Keeps weights of at least min_p (the largest weight is exactly 1).
void keep_min_p(const SampleRow& row, float min_p);

// The largest of z [n]; +0 for -0, as in row_softmax().
float largest_logit(const float* z, int64_t n);
// Sets the tokens that are not allowed to -infinity. Empty: all are allowed.
void forbid_unless_allowed(float* z, int64_t n, std::span<const uint64_t> allowed);

// Fills DrawOptions::likeliest from tempered logits z [V] that nothing has edited.
void find_likeliest(const RowSoftmax& softmax, const float* z, int64_t V, std::span<Sampled> out);

// Filters and draws. Temperature 0 takes the largest, of equals the lowest index. `row.max` must be finite.
int64_t draw_token(const SampleRow& row, const SamplingParams& params, float uniform);

}  // namespace r1
