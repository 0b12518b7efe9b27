// ops/sample/sample_cpu.cc: filters, then the draw, by passes over the tempered logits.
//
// Weights exp(z - max) are never stored: computing a block's exps again is cheaper than a second buffer.
// Dropped tokens are -infinity and weigh 0, so the draw does not depend on the filters.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "ops/loss/loss.h"
#include "ops/sample/cut.h"
#include "ops/sample/sample.h"

namespace r1 {
namespace {

// Calls body(first index, count, weights, their sum) for every block in order until it returns false.
template <class Body>
void for_each_block(const SampleRow& row, const Body& body) {
  float e[kSampleBlock];
  for (int64_t first = 0; first < row.V; first += kSampleBlock) {
    const int64_t n = std::min(kSampleBlock, row.V - first);
    const double sum = sample_block_weights(row, first, n, e);
    if (!body(first, n, e, sum)) return;
  }
}

int64_t draw(const SampleRow& row, float uniform) {
  double total = 0;
  for_each_block(row, [&](int64_t, int64_t, const float*, double sum) {
    total += sum;
    return true;
  });
  const double threshold = static_cast<double>(uniform) * total;
  double sum = 0;
  int64_t chosen = -1;
  for_each_block(row, [&](int64_t first, int64_t n, const float* e, double block) {
    if (block <= 0 || sum + block <= threshold) {
      sum += block;
      return true;
    }
    for (int64_t i = 0; i < n; ++i) {
      if (e[i] <= 0) continue;
      chosen = first + i;  // the last one, if the block's own order rounds below its total
      sum += e[i];
      if (sum > threshold) break;
    }
    return false;
  });
  return chosen;
}

}  // namespace

int64_t draw_token(const SampleRow& row, const SamplingParams& params, float uniform) {
  R1_CHECK(row.V >= 1 && params.temperature >= 0 && uniform >= 0 && uniform < 1, "V ", row.V,
           ", temperature ", params.temperature, ", uniform ", uniform);
  int64_t chosen = 0;
  if (params.temperature == 0) {
    while (row.z[chosen] != row.max) ++chosen;
    return chosen;
  }
  if (params.top_k > 0 && params.top_k < row.V) keep_top_k(row, params.top_k);
  if (params.top_p < 1) keep_top_p(row, params.top_p);
  if (params.min_p > 0) keep_min_p(row, params.min_p);
  chosen = draw(row, uniform);
  R1_CHECK(chosen >= 0, "no token left to draw from");
  return chosen;
}

Sampled sample_token(float* logits, int64_t V, const SamplingParams& params, float uniform) {
  const RowSoftmax softmax =
      row_softmax(logits, V, params.temperature == 0 ? 1.0f : 1.0f / params.temperature);
  if (!std::isfinite(softmax.sum)) return {kNotNumbers, std::numeric_limits<float>::quiet_NaN()};
  const int64_t chosen = draw_token({logits, V, softmax.max}, params, uniform);
  return {static_cast<int32_t>(chosen), row_log_prob(softmax, logits, chosen)};
}

}  // namespace r1
