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

float largest_logit(const float* z, int64_t n) {
  constexpr int64_t kLanes = 16;  // vectorises; the maximum does not depend on the order
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  float lanes[kLanes];
  std::fill(lanes, lanes + kLanes, kNone);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) lanes[j] = z[i + j] > lanes[j] ? z[i + j] : lanes[j];
  }
  for (; i < n; ++i) lanes[0] = std::max(lanes[0], z[i]);
  return *std::max_element(lanes, lanes + kLanes) + 0.0f;
}

void forbid_unless_allowed(float* z, int64_t n, std::span<const uint64_t> allowed) {
  if (allowed.empty()) return;
  R1_CHECK(std::ssize(allowed) == (n + 63) / 64, "a mask of ", allowed.size(), " words for ", n, " tokens");
  for (int64_t first = 0; first < n; first += 64) {
    const uint64_t word = allowed[static_cast<size_t>(first / 64)];
    if (word == ~uint64_t{0}) continue;
    for (int64_t i = first; i < std::min(n, first + 64); ++i) {
      if ((word >> (i - first) & 1) == 0) z[i] = -std::numeric_limits<float>::infinity();
    }
  }
}

void find_likeliest(const RowSoftmax& softmax, const float* z, int64_t V, std::span<Sampled> out) {
  if (out.empty()) return;
  size_t found = 0;
  // `out` holds tokens in order; their log-probs are filled in at the end.
  for (int64_t n = 0; n < V; ++n) {
    if (found == out.size() && !(z[n] > z[out.back().token])) continue;
    size_t at = found < out.size() ? found++ : found - 1;
    for (; at > 0 && z[n] > z[out[at - 1].token]; --at) out[at] = out[at - 1];
    out[at].token = static_cast<int32_t>(n);
  }
  for (size_t i = 0; i < found; ++i) out[i].logprob = row_log_prob(softmax, z, out[i].token);
  for (size_t i = found; i < out.size(); ++i) out[i] = {-1, -std::numeric_limits<float>::infinity()};
}

Sampled sample_token(float* logits, int64_t V, const SamplingParams& params, float uniform,
                     std::span<const uint64_t> allowed, const DrawOptions& options) {
  const RowSoftmax softmax =
      row_softmax(logits, V, params.temperature == 0 ? 1.0f : 1.0f / params.temperature);
  if (!std::isfinite(softmax.sum)) return {kNotNumbers, std::numeric_limits<float>::quiet_NaN()};
  find_likeliest(softmax, logits, V, options.likeliest);
  if (options.forced >= 0) return {options.forced, row_log_prob(softmax, logits, options.forced)};
  forbid_unless_allowed(logits, V, allowed);
  const float max = allowed.empty() ? softmax.max : largest_logit(logits, V);
  if (!std::isfinite(max)) return {kNothingLeft, std::numeric_limits<float>::quiet_NaN()};
  const int64_t chosen = draw_token({logits, V, max}, params, uniform);
  return {static_cast<int32_t>(chosen), row_log_prob(softmax, logits, chosen)};
}

}  // namespace r1
