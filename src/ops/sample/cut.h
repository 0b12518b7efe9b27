// ops/sample/cut.h: a row's tempered logits and the cuts that filters make in their descending order
// (internal to ops/sample).
#pragma once

#include <cstdint>

#include "ops/sample/sample.h"

namespace r1 {

struct SampleRow {
  float* z;  // [V], finite or -infinity (dropped tokens become -infinity: weight 0)
  int64_t V;
  float max;
};

inline constexpr int64_t kSampleBlock = 256;

// e[i] = exp(z[first + i] - max) for a block of n <= kSampleBlock; returns their sum: 16 f64 lanes and a
// tree.
double sample_block_weights(const SampleRow& row, int64_t first, int64_t n, float* e);

// Keeps the `k` largest (of equals, the lowest indices), 1 <= k < V.
void keep_top_k(const SampleRow& row, int64_t k);
// Keeps the shortest prefix of the descending order whose weight reaches top_p of the whole; at least one
// token.
void keep_top_p(const SampleRow& row, float top_p);
// Keeps weights of at least min_p (the largest weighs exactly 1).
void keep_min_p(const SampleRow& row, float min_p);

// Filters and draws (temperature 0: the largest, of equals the lowest index). `row.max` is finite.
int64_t draw_token(const SampleRow& row, const SamplingParams& params, float uniform);

}  // namespace r1
